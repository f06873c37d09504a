//! Running one build, from request to outcome.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::try_join_all;
use lamina_exporters::ExportContext;
use lamina_exporters::ExportInput;
use lamina_exporters::ExportRefs;
use lamina_llb::Build;
use lamina_llb::BuildError;
use lamina_llb::BuildOptions;
use lamina_llb::BuildResult;
use lamina_llb::Entitlements;
use lamina_llb::ResultRefs;
use lamina_proto::pb;
use lamina_proto::rpc;
use lamina_snapshotter::LayerStack;
use lamina_solver::Backlog;
use lamina_solver::Event;
use lamina_solver::EventSender;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::panic_text;
use lamina_types::without_credentials;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;

use super::BuildOutcome;
use super::BuildRequest;
use super::BuildSource;
use super::ExportResponses;
use super::export;
use super::late::LateExports;
use super::live::Registration;
use super::running::RunningBuild;
use crate::Engine;
use crate::history::History;
use crate::history::record;
use crate::history::record::Ending;
use crate::mounts;
use crate::networks;
use crate::random_id;
use crate::status::FinishedLog;
use crate::status::Recorder;

impl Engine {
    /// Builds and exports. Progress goes to `events`; exports are steps of their own (row CSOL-23).
    ///
    /// Everything is evaluated, also without exporters (row CSOL-21). A build that fails or is
    /// cancelled leaves nothing but what is cached and its record in the history; dropping the future
    /// cancels it (row NET-17). Steps that only it wanted are being stopped when this returns, and
    /// [`Engine::settle`] waits until they are. Steps wait with their output if `events` is counted and far
    /// behind.
    ///
    /// # Errors
    /// [`BuildError`] of the first step, frontend or exporter that failed; if a build of that id runs
    /// or ended a moment ago (row CSOL-01); after [`Engine::stop`]. A panic is the error of this
    /// build and no other.
    pub async fn build(
        &self,
        request: BuildRequest,
        events: impl Into<EventSender> + Send,
        cancel: &CancelToken,
    ) -> Result<BuildOutcome, BuildError> {
        let events = events.into();
        let cancel = cancel.child();
        let _left = cancel.cancel_on_drop();
        let running = self.0.running.begin()?;
        let build = self.clone().run(request, events, cancel.clone(), running);
        // A task of its own, so that it comes to an orderly end whatever becomes of the caller.
        let outcome = tokio::spawn(build).await;
        outcome.unwrap_or_else(|error| Err(internal(&error.to_string())))
    }

    async fn run(
        self,
        mut request: BuildRequest,
        watcher: EventSender,
        cancel: CancelToken,
        running: RunningBuild,
    ) -> Result<BuildOutcome, BuildError> {
        if request.id.is_empty() {
            request.id = random_id();
        }
        let (id, is_recorded) = (request.id.clone(), !request.internal);
        let _gate = self.0.usage.build_begins().await;
        let (events, receiver) = unbounded_channel();
        let path = self.0.history.blobs().temporary();
        let backlog = Arc::new(Backlog::default());
        let events =
            EventSender::counted(events, Arc::clone(&backlog)).followed_by(watcher.clone());
        let (recorder, log) = Recorder::new(&path, self.0.step_log, receiver, watcher);
        let recorder = recorder.counting(backlog);
        let registration = self.0.builds.register(&id, log);
        let registration = registration.map_err(|error| BuildError::new(error.to_string()))?;
        if is_recorded {
            self.0.history.begin(record::begun(&id, &request));
        }
        let (end, ended) = oneshot::channel();
        let work = async {
            let work = self.work(request, events, cancel.clone());
            let outcome = running.run(&cancel, work).await;
            // The recorder takes what was told so far and ends.
            drop(end);
            outcome
        };
        let (outcome, (log, counts)) = tokio::join!(work, recorder.run(ended));
        let recorded = outcome.as_ref().map(|(_, responses)| responses.clone());
        let ending = Ending {
            outcome: recorded.map_err(|error| self.recorded_error(error)),
            counts,
        };
        let record = is_recorded.then_some((id, log, ending));
        self.finish(registration, record).await;
        outcome.map(|(outcome, _)| outcome)
    }

    /// Returns an error as records have it: everybody who may build can read them, so URLs lose
    /// their credentials.
    fn recorded_error(&self, error: &BuildError) -> rpc::Status {
        let status = (self.0.encode_error)(error);
        let message = without_credentials(&status.message).into_owned();
        rpc::Status { message, ..status }
    }

    /// Remembers a build that has ended, and lets others go on.
    async fn finish(
        &self,
        registration: Registration,
        record: Option<(String, Option<FinishedLog>, Ending)>,
    ) {
        if let Some((id, log, ending)) = record {
            let store = move |history: &Arc<History>| history.end(&id, log, &ending);
            if let Err(error) = self.with_history(store).await {
                tracing::warn!(%error, "a build is missing in the history");
            }
        }
        drop(registration);
        self.build_ended();
    }

    /// Does what was asked; a panic becomes an error.
    async fn work(
        &self,
        request: BuildRequest,
        events: EventSender,
        cancel: CancelToken,
    ) -> Result<(BuildOutcome, ExportResponses), BuildError> {
        let worked = AssertUnwindSafe(self.work_unguarded(request, events, cancel));
        let worked = worked.catch_unwind().await;
        worked.unwrap_or_else(|panic| Err(internal(&panic_text(&*panic))))
    }

    async fn work_unguarded(
        &self,
        mut request: BuildRequest,
        events: EventSender,
        cancel: CancelToken,
    ) -> Result<(BuildOutcome, ExportResponses), BuildError> {
        let notices = [
            mounts::notice(&self.0.mounts),
            networks::notice(self.networks()),
        ];
        for notice in notices.into_iter().flatten().filter(|_| !request.internal) {
            events.send(Event::Vertex(notice));
        }
        request.entitlements = self.grant(request.entitlements)?;
        export::inject_epoch(&mut request);
        let mut exporters = export::parse(&request.exports, 0)?;
        Build::check_cache_exports(&request.cache_exports)?;
        let context = self.export_context(&request.session, &cancel);
        let late = LateExports::new(&request, &cancel);
        let build = self.start(&request, events, &context).await?;
        let result = produce(&build, request.source, request.no_cache).await?;
        let mut input = ExportInput {
            refs: evaluate(&build, &result.refs).await?,
            metadata: result.metadata.clone(),
        };
        exporters.extend(export::parse(&late.find(&result).await?, exporters.len())?);
        let inline = build.inline_cache(&result, &request.cache_exports).await?;
        input.metadata.extend(inline);
        // Registries take images and caches at the same time (row CSOL-24).
        let (mut responses, cache) = futures_util::try_join!(
            export::run(&build, exporters, &input, &context, &*self.0.services.room),
            build.export_caches(&result, &request.cache_exports, &context),
        )?;
        responses.others.extend(cache);
        let exporter_response = responses.merged();
        late.finalize(&exporter_response).await?;
        let outcome = BuildOutcome {
            exporter_response,
            result,
        };
        Ok((outcome, responses))
    }

    /// Starts the build, with the caches that it may look in.
    async fn start(
        &self,
        request: &BuildRequest,
        events: EventSender,
        context: &ExportContext,
    ) -> Result<Build, BuildError> {
        let options = BuildOptions {
            session: Arc::clone(&request.session),
            entitlements: request.entitlements.clone(),
            events,
            cancel: context.cancel.clone(),
        };
        let build = Build::start(&self.0.services, &self.0.solver, options);
        build.set_policies(request.policy.clone().into_iter().collect())?;
        build.import_caches(&request.cache_imports, context).await;
        Ok(build)
    }

    /// Returns what the build may ask of the host; clients know the words (row CSOL-14).
    fn grant(&self, wanted: Entitlements) -> Result<Entitlements, BuildError> {
        let refuse = |error| format!("granting entitlement {error} by build daemon configuration");
        let granted = wanted.within(&self.0.entitlements);
        granted.map_err(|error| BuildError::new(refuse(error)))
    }

    /// Waits until no step or frontend runs any more, nothing of cancelled ones is left, and
    /// everything that builds have cached is on disk. To be called before the process ends.
    pub async fn settle(&self) {
        self.0.solver.settled().await;
        // Frontends are processes and no steps.
        self.0.services.executor.settled().await;
        // Before the pool is idle, since a collection that was about to begin works there.
        self.0.usage.settled(&self.0.services.blocking).await;
        self.0.services.blocking.idle().await;
        self.0.flusher.flush().await;
        if let Err(error) = self.0.cache.flush().await {
            tracing::warn!(%error, "some results will not be found again");
        }
    }
}

fn internal(text: &str) -> BuildError {
    BuildError::new(format!("internal error: {text}"))
}

async fn produce(
    build: &Build,
    source: BuildSource,
    no_cache: bool,
) -> Result<BuildResult, BuildError> {
    match source {
        BuildSource::Definition(mut definition) => {
            if no_cache {
                ignore_cache(&mut definition);
            }
            let refs = ResultRefs::Single(build.load(definition)?);
            Ok(BuildResult {
                refs,
                metadata: BTreeMap::new(),
            })
        }
        BuildSource::Frontend {
            name,
            mut options,
            inputs,
        } => {
            if no_cache {
                options.entry("no-cache".to_owned()).or_default();
            }
            build.run_frontend(&name, options, inputs).await
        }
        BuildSource::Client {
            frontend,
            options,
            inputs,
        } => build.run(frontend, options, inputs).await,
    }
}

/// Marks every vertex, as clients do that have such an option.
fn ignore_cache(definition: &mut pb::Definition) {
    for op in &definition.def {
        let digest = Digest::of(op).to_string();
        definition.metadata.entry(digest).or_default().ignore_cache = true;
    }
}

async fn evaluate(build: &Build, refs: &ResultRefs) -> Result<ExportRefs, BuildError> {
    let stacks = refs.iter().map(|(key, reference)| async move {
        let stack = match reference {
            Some(reference) => build.evaluate(reference).await?.stack().clone(),
            None => LayerStack::empty(),
        };
        Ok::<_, BuildError>((key.to_owned(), stack))
    });
    let mut stacks: BTreeMap<String, LayerStack> =
        try_join_all(stacks).await?.into_iter().collect();
    Ok(match refs {
        ResultRefs::Single(_) => ExportRefs::Single(stacks.remove("").unwrap_or_default()),
        ResultRefs::Map(_) => ExportRefs::ByPlatform(stacks),
    })
}
