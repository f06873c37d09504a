//! Looking for a record of an output, while doing as little as possible to its inputs.
//!
//! Every input is asked, in this order: its fast keys (they cost nothing), its slow keys (they may
//! realise inputs of the input), its result, and where the op reads the input by content, the
//! content's digest. After each answer the store is asked which ids the new keys lead to. An id to
//! which all inputs lead is a key of the output, and if it has a record, that is the result.
//!
//! How far each input is asked:
//!
//! - While some input leads nowhere yet, only such inputs are asked further; those that lead
//!   somewhere wait. So a base image that matches by definition is not pulled because a copied file
//!   has to be compared by content.
//! - If all lead somewhere but to nothing common, all are asked further.
//! - If an input can be asked nothing more and leads nowhere, there is no record; the rest is
//!   realised without asking.
//!
//! All inputs advance concurrently.

mod asked;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use lamina_types::Digest;

use crate::cell::Cell;
use crate::cell::Input;
use crate::cell::Keys;
use crate::cell::Realised;
use crate::flight::InputIds;
use crate::key::KeyId;
use crate::key::Link;
use crate::memo::Outcome;
use crate::op::CacheMap;
use crate::op::InputKey;

use asked::Asked;
use asked::Level;

/// How far a look-up goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Until inputs were asked for everything that says something about keys.
    SlowKeys,
    /// Until a record is found or all inputs are there.
    Result,
}

/// How a look-up ended.
pub(crate) enum Found<V> {
    /// These keys, maybe none.
    Keys(BTreeSet<KeyId>),
    /// A record, which holds this value.
    Record(Realised<V>),
    /// No record; all inputs are there.
    Nothing(Vec<Reading<V>>),
}

/// A realised input with its keys.
pub(crate) struct Reading<V> {
    pub(crate) value: V,
    pub(crate) key: KeyId,
    pub(crate) selector: Option<Digest>,
    pub(crate) content: Option<Digest>,
}

/// A look-up under way.
pub(crate) struct Lookup<V, C> {
    cell: Arc<Cell<V, C>>,
    output: u32,
    map: Arc<CacheMap>,
    goal: Goal,
    /// Whether records may be used.
    probing: bool,
    /// Whether a run under way is better than a record.
    prefer_running: bool,
    inputs: Vec<Asked<V>>,
    steps: FuturesUnordered<Step<V>>,
    tried: BTreeSet<KeyId>,
}

type Step<V> = Pin<Box<dyn Future<Output = Outcome<(usize, Answer<V>)>> + Send>>;

enum Answer<V> {
    Fast(Keys),
    Slow(Keys),
    Result(Arc<Realised<V>>),
    Content(Digest),
}

impl<V, C> Lookup<V, C>
where
    V: Clone + Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    pub(crate) fn new(
        cell: &Arc<Cell<V, C>>,
        output: usize,
        map: Arc<CacheMap>,
        goal: Goal,
        probing: bool,
    ) -> Self {
        let by_content = |input| {
            map.inputs
                .get(input)
                .is_some_and(|key: &InputKey| key.content)
        };
        Self {
            cell: Arc::clone(cell),
            output: u32::try_from(output).unwrap_or(u32::MAX),
            goal,
            probing,
            prefer_running: true,
            inputs: (0..cell.inputs.len())
                .map(|i| Asked::new(by_content(i)))
                .collect(),
            steps: FuturesUnordered::new(),
            tried: BTreeSet::new(),
            map,
        }
    }

    /// Uses records also while the same is being made.
    pub(crate) fn prefer_records(self) -> Self {
        Self {
            prefer_running: false,
            ..self
        }
    }

    /// Looks until the goal is reached.
    pub(crate) async fn run(mut self) -> Outcome<Found<V>> {
        if self.inputs.is_empty() {
            return Ok(self.root().await);
        }
        self.cell.want_inputs()?;
        self.ask_fast_keys().await?;
        let fast = self.common();
        loop {
            if let Some(found) = self.check(&fast).await {
                return Ok(found);
            }
            self.advance();
            match self.steps.next().await {
                Some(answer) => self.take(answer?),
                None => return Ok(self.exhausted()),
            }
        }
    }

    /// Returns the keys that are known without realising anything.
    pub(crate) async fn fast_keys(mut self) -> Outcome<BTreeSet<KeyId>> {
        if self.inputs.is_empty() {
            let key = KeyId::root(self.map.digest, self.output);
            return Ok(BTreeSet::from([key]));
        }
        self.ask_fast_keys().await?;
        Ok(self.common())
    }

    /// An op without inputs has one key and no choice.
    async fn root(self) -> Found<V> {
        let key = KeyId::root(self.map.digest, self.output);
        if self.goal == Goal::SlowKeys {
            return Found::Keys(BTreeSet::from([key]));
        }
        let record = if self.probing {
            self.cell.load_record(key).await
        } else {
            None
        };
        record.map_or_else(|| Found::Nothing(Vec::new()), Found::Record)
    }

    /// Asks all inputs for their fast keys first: they are there in no time.
    async fn ask_fast_keys(&mut self) -> Outcome<()> {
        if !self.probing {
            return Ok(());
        }
        let cell = Arc::clone(&self.cell);
        let asked = try_join_all(cell.inputs.iter().map(Input::fast_keys)).await?;
        for (index, keys) in asked.into_iter().enumerate() {
            self.take((index, Answer::Fast(keys)));
        }
        Ok(())
    }

    /// Says whether the goal is reached. `fast` = the keys that are known without looking.
    async fn check(&mut self, fast: &BTreeSet<KeyId>) -> Option<Found<V>> {
        let common = self.common();
        match self.goal {
            Goal::SlowKeys if self.is_hopeless() || !common.is_subset(fast) => {
                Some(Found::Keys(common))
            }
            Goal::SlowKeys => None,
            Goal::Result => self.load_any(common).await.map(Found::Record),
        }
    }

    fn exhausted(self) -> Found<V> {
        match self.goal {
            Goal::SlowKeys => Found::Keys(self.common()),
            Goal::Result => Found::Nothing(self.readings()),
        }
    }

    /// Returns the ids to which all inputs lead.
    fn common(&self) -> BTreeSet<KeyId> {
        let mut inputs = self.inputs.iter();
        let first = inputs
            .next()
            .map_or_else(BTreeSet::new, |i| i.leads_to.clone());
        inputs.fold(first, |common, input| &common & &input.leads_to)
    }

    /// No record can be found any more.
    fn is_hopeless(&self) -> bool {
        !self.probing
            || self
                .inputs
                .iter()
                .any(|i| i.is_settled() && i.leads_nowhere())
    }

    /// Asks every input that may be asked further.
    fn advance(&mut self) {
        let hopeless = self.is_hopeless();
        let searching = |i: &Asked<V>| i.leads_nowhere() && !i.is_settled();
        let some_search = self.inputs.iter().any(searching);
        let all_settled = self.inputs.iter().all(Asked::is_settled);
        for index in 0..self.inputs.len() {
            let input = &self.inputs[index];
            if input.busy || input.is_complete() {
                continue;
            }
            let may = hopeless
                || input.level == Level::Result
                || searching(input)
                || (!some_search && (!input.is_settled() || all_settled));
            let enough = self.goal == Goal::SlowKeys && input.is_settled();
            if may && !enough {
                let step = self.step(index, hopeless);
                self.steps.push(step);
                self.inputs[index].busy = true;
            }
        }
    }

    fn step(&self, index: usize, hopeless: bool) -> Step<V> {
        let cell = Arc::clone(&self.cell);
        match self.inputs[index].level {
            Level::Nothing | Level::Fast if !hopeless => Box::pin(async move {
                let keys = cell.inputs[index].slow_keys().await?;
                Ok((index, Answer::Slow(keys)))
            }),
            Level::Result | Level::Content => {
                let realised = self.inputs[index].realised.clone();
                Box::pin(async move {
                    let digest = cell.content_digest(index, realised).await?;
                    Ok((index, Answer::Content(digest)))
                })
            }
            _ => Box::pin(async move {
                let realised = cell.inputs[index].result().await?;
                Ok((index, Answer::Result(realised)))
            }),
        }
    }

    fn take(&mut self, (index, answer): (usize, Answer<V>)) {
        let (level, leads_to) = match &answer {
            Answer::Fast(keys) => (Level::Fast, self.follow(index, keys)),
            Answer::Slow(keys) => (Level::Slow, self.follow(index, keys)),
            Answer::Result(realised) => (Level::Result, self.follow(index, &realised.keys)),
            Answer::Content(digest) => (Level::Content, self.follow_content(index, *digest)),
        };
        let ids = self.ids(index, &answer);
        let input = &mut self.inputs[index];
        input.ids.extend(ids);
        input.busy = false;
        input.level = level;
        input.leads_to.extend(leads_to);
        match answer {
            Answer::Result(realised) => input.realised = Some(realised),
            Answer::Content(digest) => input.content = Some(digest),
            Answer::Fast(_) | Answer::Slow(_) => {}
        }
    }

    /// Returns what an answer says about who the input is.
    fn ids(&self, index: usize, answer: &Answer<V>) -> InputIds {
        let selected = |key: &KeyId| (*key, self.selector(index));
        match answer {
            Answer::Fast(keys) | Answer::Slow(keys) => keys.iter().map(selected).collect(),
            Answer::Result(realised) => InputIds::from([selected(&realised.key)]),
            Answer::Content(digest) => InputIds::from([(KeyId::content(*digest), None)]),
        }
    }

    fn link(&self, index: usize, selector: Option<Digest>) -> Link {
        Link {
            input: u32::try_from(index).unwrap_or(u32::MAX),
            output: self.output,
            op: self.map.digest,
            selector,
        }
    }

    fn selector(&self, index: usize) -> Option<Digest> {
        self.map.inputs.get(index).and_then(|key| key.selector)
    }

    fn follow(&self, index: usize, keys: &[KeyId]) -> Vec<KeyId> {
        if !self.probing {
            return Vec::new();
        }
        let link = self.link(index, self.selector(index));
        keys.iter()
            .flat_map(|key| self.cell.links(*key, &link))
            .collect()
    }

    /// Follows a content key, and lets the input's own key lead to the same ids from now on: the
    /// next build finds them without reading the content.
    fn follow_content(&self, index: usize, content: Digest) -> Vec<KeyId> {
        if !self.probing {
            return Vec::new();
        }
        let cache = &self.cell.shared.cache;
        let by_content = self.link(index, None);
        let ids = self.cell.links(KeyId::content(content), &by_content);
        if let Some(realised) = &self.inputs[index].realised {
            let link = self.link(index, self.selector(index));
            for id in &ids {
                cache.add_link(realised.key, &link, *id);
            }
        }
        ids
    }

    /// Loads the latest record of any key. Stops looking for records if a vertex that ignores the
    /// cache is making the same right now: that will be waited for.
    async fn load_any(&mut self, keys: BTreeSet<KeyId>) -> Option<Realised<V>> {
        if !keys.is_empty() && self.prefer_running {
            let ids: Vec<_> = self.inputs.iter().map(|input| input.ids.clone()).collect();
            let flights = &self.cell.shared.flights;
            self.probing &= !flights.is_being_renewed(self.map.digest, &ids);
        }
        if !self.probing {
            return None;
        }
        let new = keys.iter().filter(|key| !self.tried.contains(key));
        let mut dated: Vec<_> = new.map(|key| (self.cell.latest(*key), *key)).collect();
        dated.sort_unstable_by(|a, b| b.cmp(a));
        for (_, key) in dated {
            self.tried.insert(key);
            if let Some(mut realised) = self.cell.load_record(key).await {
                realised.keys = keys.iter().copied().collect();
                return Some(realised);
            }
        }
        None
    }

    fn readings(self) -> Vec<Reading<V>> {
        let selectors: Vec<_> = (0..self.inputs.len()).map(|i| self.selector(i)).collect();
        let asked = self.inputs.into_iter().zip(selectors);
        let reading = |(input, selector): (Asked<V>, _)| {
            let realised = input.realised?;
            Some(Reading {
                value: realised.value.clone(),
                key: realised.key,
                selector,
                content: input.content,
            })
        };
        asked.filter_map(reading).collect()
    }
}
