//! The stages of a vertex: cache map, fast keys, slow keys, content keys, values, result.

use std::sync::Arc;

use lamina_types::Digest;
use lamina_types::Sha256Hasher;
use lamina_types::panic_text;
use tokio::task::JoinError;

use crate::cell::Cell;
use crate::cell::Input;
use crate::cell::Keys;
use crate::cell::Realised;
use crate::commit::Commit;
use crate::error::SolveError;
use crate::error::StepError;
use crate::feed::Mark;
use crate::flight::InputIds;
use crate::key::KeyId;
use crate::life::Interest;
use crate::lookup::Found;
use crate::lookup::Goal;
use crate::lookup::Lookup;
use crate::lookup::Reading;
use crate::memo::Entry;
use crate::memo::Failure;
use crate::memo::Outcome;
use crate::memo::Run;
use crate::memo::Work;
use crate::op::CacheMap;
use crate::op::OpContext;
use crate::op::OpError;
use crate::slots::Slot;

impl<V, C> Input<V, C>
where
    V: Clone + Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    /// Returns the keys that are known without realising anything.
    pub(crate) async fn fast_keys(&self) -> Outcome<Keys> {
        let output = self.cell.output(self.output);
        if let Some(result) = output.result.peek() {
            return Ok(Arc::clone(&result.keys));
        }
        let (cell, index) = (Arc::clone(&self.cell), self.output);
        let work = move |_| cell.find_fast_keys(index);
        output.fast_keys.get(&self.cell, work).await
    }

    /// Returns the keys that are known after realising what the vertex reads by content.
    pub(crate) async fn slow_keys(&self) -> Outcome<Keys> {
        let output = self.cell.output(self.output);
        if let Some(result) = output.result.peek() {
            return Ok(Arc::clone(&result.keys));
        }
        let (cell, index) = (Arc::clone(&self.cell), self.output);
        let work = move |_| cell.find_slow_keys(index);
        output.slow_keys.get(&self.cell, work).await
    }

    /// Returns the result, from a record or by running.
    pub(crate) async fn result(&self) -> Outcome<Arc<Realised<V>>> {
        let output = self.cell.output(self.output);
        let (cell, index) = (Arc::clone(&self.cell), self.output);
        let work = move |_| cell.realise(index);
        output.result.get(&self.cell, work).await
    }
}

impl<V, C> Cell<V, C>
where
    V: Clone + Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    /// Returns the op's own part of the key.
    pub(crate) async fn cache_map(self: &Arc<Self>) -> Outcome<Arc<CacheMap>> {
        let cell = Arc::clone(self);
        let work = move |run| Box::pin(async move { cell.ask_cache_map(run).await }) as _;
        self.cache_map.get(self, work).await
    }

    /// Asks the op. For an op without inputs that is work worth showing: it resolves its source.
    async fn ask_cache_map(self: Arc<Self>, run: Run) -> Outcome<Arc<CacheMap>> {
        let is_source = self.inputs.is_empty();
        let shown = is_source.then(|| self.start(&run));
        let asked = self.call(&run, None, |cell, context| async move {
            cell.vertex.op.cache_map(&context).await
        });
        let asked = asked.await;
        let error = asked.as_ref().err().map(ToString::to_string);
        match (shown, error) {
            (Some(mark), error) => self.feed.complete(mark, false, error),
            (None, Some(error)) => self.feed.fail(error),
            (None, None) => {}
        }
        match asked {
            Ok(map) => Ok(Arc::new(self.complete_map(map))),
            Err(error) => Err(self.failed(Arc::new(StepError::CacheMap(error)))),
        }
    }

    /// Makes the number of inputs part of the digest: keys are looked up input by input, and what
    /// was computed from more inputs than these must not be found.
    fn complete_map(&self, mut map: CacheMap) -> CacheMap {
        let mut hasher = Sha256Hasher::new();
        hasher.update(map.digest.as_bytes());
        hasher.update(&self.inputs.len().to_le_bytes());
        map.digest = hasher.finish();
        map
    }

    /// Shows that work begins; also when it is cancelled at this very moment, and ends.
    fn start(&self, run: &Run) -> Mark {
        let mark = self.feed.start(false);
        if run.cancel.is_cancelled() {
            self.feed.cancel();
        }
        mark
    }

    fn find_fast_keys(self: Arc<Self>, output: usize) -> Work<Keys> {
        Box::pin(async move {
            if self.ignore_cache {
                return Ok(Arc::from([]));
            }
            self.want_inputs()?;
            let inputs = self.inputs.iter().map(Input::fast_keys);
            let inputs = futures_util::future::try_join_all(inputs);
            let (map, _) = futures_util::future::try_join(self.cache_map(), inputs).await?;
            let lookup = Lookup::new(&self, output, map, Goal::SlowKeys, true);
            Ok(lookup.fast_keys().await?.into_iter().collect())
        })
    }

    fn find_slow_keys(self: Arc<Self>, output: usize) -> Work<Keys> {
        Box::pin(async move {
            if self.ignore_cache {
                return Ok(Arc::from([]));
            }
            let map = self.cache_map().await?;
            let lookup = Lookup::new(&self, output, map, Goal::SlowKeys, true);
            match lookup.run().await? {
                Found::Keys(keys) => Ok(keys.into_iter().collect()),
                Found::Record(_) | Found::Nothing(_) => Ok(Arc::from([])),
            }
        })
    }

    /// Returns the content key of an input that is there.
    pub(crate) async fn content_digest(
        self: &Arc<Self>,
        index: usize,
        realised: Option<Arc<Realised<V>>>,
    ) -> Outcome<Digest> {
        let realised = realised.ok_or(Failure::Cancelled)?;
        let cell = Arc::clone(self);
        let work =
            move |run| Box::pin(async move { cell.ask_content(run, index, realised).await }) as _;
        self.contents[index].get(self, work).await
    }

    async fn ask_content(
        self: Arc<Self>,
        run: Run,
        index: usize,
        realised: Arc<Realised<V>>,
    ) -> Outcome<Digest> {
        let asked = self.call(&run, None, move |cell, context| async move {
            let op = &cell.vertex.op;
            op.content_digest(index, &realised.value, &context).await
        });
        asked.await.map_err(|error| {
            self.feed.fail(error.to_string());
            self.failed(Arc::new(StepError::ContentDigest(error)))
        })
    }

    /// Finds or makes the result of an output. What another output's run has already made is used
    /// without looking, so that the outputs of one vertex are of one run.
    fn realise(self: Arc<Self>, output: usize) -> Work<Arc<Realised<V>>> {
        Box::pin(async move {
            let map = self.cache_map().await?;
            let mut realised = self.find_or_make(output, &map, true).await;
            if matches!(realised, Err(Failure::Superseded)) {
                realised = self.find_or_make(output, &map, false).await;
            }
            let realised = Arc::new(realised?);
            self.life.result_known();
            Ok(realised)
        })
    }

    /// With `recheck`, gives up with [`Failure::Superseded`] if a record appears before running.
    async fn find_or_make(
        self: &Arc<Self>,
        output: usize,
        map: &Arc<CacheMap>,
        recheck: bool,
    ) -> Outcome<Realised<V>> {
        let recorded = self.vertex.op.is_recorded();
        let probing = !self.ignore_cache && recorded && self.values.peek().is_none();
        let lookup = Lookup::new(self, output, Arc::clone(map), Goal::Result, probing);
        let lookup = if recheck {
            lookup
        } else {
            lookup.prefer_records()
        };
        match lookup.run().await? {
            Found::Record(realised) => {
                let mark = self.feed.start(true);
                self.feed.complete(mark, true, None);
                Ok(realised)
            }
            Found::Nothing(readings) => {
                let commit = Commit {
                    op: map.digest,
                    output: u32::try_from(output).unwrap_or(u32::MAX),
                    readings,
                    ignore_cache: self.ignore_cache,
                    recorded,
                };
                self.make(output, Arc::new(commit), recheck).await
            }
            Found::Keys(_) => Err(Failure::Cancelled),
        }
    }

    async fn make(
        self: &Arc<Self>,
        output: usize,
        commit: Arc<Commit<V>>,
        recheck: bool,
    ) -> Outcome<Realised<V>> {
        let (cell, step) = (Arc::clone(self), Arc::clone(&commit));
        let work =
            move |run| Box::pin(async move { cell.run_or_follow(run, &step, recheck).await }) as _;
        let values = self.values.get(self, work).await?;
        let Some(value) = values.get(output) else {
            let outputs = values.len();
            let error = StepError::MissingOutput { output, outputs };
            return Err(self.failed(Arc::new(error)));
        };
        let shared = &self.shared;
        let saved = commit.save(value.clone(), &*shared.cache, &*shared.results);
        Ok(saved.await)
    }

    /// Runs, unless a vertex of equal meaning runs or ran; then waits for that one.
    async fn run_or_follow(
        self: Arc<Self>,
        run: Run,
        step: &Commit<V>,
        recheck: bool,
    ) -> Outcome<Arc<Vec<V>>> {
        let ids: Arc<[_]> = step.readings.iter().map(input_ids).collect();
        while let Some(leader) = self.shared.flights.enter(step.op, &self, &ids) {
            let _interest = Interest::new(&leader);
            let Some(entry) = leader.values.join(&*leader) else {
                self.shared.flights.leave(step.op, &leader, &ids);
                continue;
            };
            self.feed.follow(&leader.feed, &leader.face());
            match entry.outcome().await {
                Ok(values) => {
                    self.feed.complete_cached();
                    return Ok(values);
                }
                Err(Failure::Failed(error)) => return Err(self.failed(error.source)),
                Err(Failure::Cancelled | Failure::Superseded) => {}
            }
        }
        self.feed.lead();
        if recheck && step.is_known(&*self.shared.cache) {
            self.shared.flights.leave(step.op, &self, &ids);
            return Err(Failure::Superseded);
        }
        let inputs = step.readings.iter().map(|r| r.value.clone()).collect();
        self.exec(&run, inputs).await
    }

    async fn exec(self: &Arc<Self>, run: &Run, inputs: Vec<V>) -> Outcome<Arc<Vec<V>>> {
        let slot = self.slot().await;
        let mark = self.start(run);
        let values = self.call(run, slot, |cell, context| async move {
            cell.vertex.op.exec(inputs, &context).await
        });
        let values = values.await;
        let error = values.as_ref().err().map(ToString::to_string);
        self.feed.complete(mark, false, error);
        values.map(Arc::new).map_err(|error| self.failed(error))
    }

    /// Says whether the values are being made.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.values.join(self), Some(Entry::Wait(_)))
    }

    /// Waits for a slot where one is needed, on behalf of the build that had the vertex first.
    async fn slot(&self) -> Option<Slot> {
        if !self.vertex.op.takes_slot() {
            return None;
        }
        let first = self.feed.members().into_iter().next();
        // Without a build nobody waits any more, and the work ends as soon as it begins.
        self.shared.slots.take(first?.number).await
    }

    /// Calls the op in a task of its own, so that it can clean up after a cancel, and so that a
    /// panic stays there. The slot is free when the call has returned.
    async fn call<T, F, W>(
        self: &Arc<Self>,
        run: &Run,
        slot: Option<Slot>,
        work: W,
    ) -> Result<T, OpError>
    where
        T: Send + 'static,
        W: FnOnce(Arc<Self>, OpContext<C>) -> F,
        F: Future<Output = Result<T, OpError>> + Send + 'static,
    {
        let work = work(Arc::clone(self), self.context(run.clone()));
        let task = self.shared.calls.spawn(async move {
            let _slot = slot;
            work.await
        });
        task.await.unwrap_or_else(|error| Err(panicked(error)))
    }

    fn failed(&self, source: OpError) -> Failure {
        Failure::Failed(SolveError {
            vertex: self.vertex.digest,
            vertex_name: self.vertex.name.clone(),
            source,
        })
    }
}

fn input_ids<V>(reading: &Reading<V>) -> InputIds {
    let content = reading.content.map(|digest| (KeyId::content(digest), None));
    let mut ids = InputIds::from([(reading.key, reading.selector)]);
    ids.extend(content);
    ids
}

fn panicked(error: JoinError) -> OpError {
    let message = match error.try_into_panic() {
        Ok(panic) => panic_text(&*panic),
        Err(error) => error.to_string(),
    };
    Arc::new(StepError::Panicked { message })
}
