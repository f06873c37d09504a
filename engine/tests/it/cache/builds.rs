//! Running the builds of a scenario.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lamina_engine::BuildRequest;
use lamina_engine::BuildSource;
use lamina_engine::Engine;
use lamina_engine::EngineOptions;
use lamina_engine::ExportRequest;
use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_llb::ResultRefs;
use lamina_proto::control::PruneRequest;
use lamina_proto::pb;
use lamina_session::LocalOwner;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use lamina_types::Digest;
use serde_json::Value;
use tokio::sync::mpsc::channel;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;

use super::locals;
use super::observe::Seen;
use super::observe::Stream;
use super::scenario::Build;
use super::scenario::Scenario;
use super::transfer::Transfers;
use crate::fixture;
use crate::tar_tree;
use crate::tar_tree::Entry;

/// What one build gave.
pub(super) struct Observed {
    pub(super) seen: BTreeMap<String, Seen>,
    pub(super) outcome: Result<Vec<Entry>, BuildError>,
}

const DRIVEN: &str = "scenario";
const CUSTOM_NAME: &str = "llb.customname";
const INLINE_BYTES: usize = 200;
/// The golden data was made with this pause.
const AFTER_CANCEL: Duration = Duration::from_secs(1);
const CANCEL_DELAY: Duration = Duration::from_millis(300);

/// Solves its inputs one after the other, as a client that drives a build does.
struct Driver;

#[async_trait]
impl Frontend for Driver {
    async fn build(&self, bridge: Arc<dyn Bridge>) -> Result<BuildResult, BuildError> {
        let mut result = BuildResult::default();
        let mut failure = None;
        for definition in bridge.inputs().values() {
            let reference = bridge.solve(definition.clone()).await?;
            if let Some(reference) = &reference
                && let Err(error) = bridge.evaluate(reference).await
            {
                failure.get_or_insert(error);
            }
            result.refs = ResultRefs::Single(reference);
        }
        failure.map_or(Ok(result), Err)
    }
}

/// Runs all builds; `Err` = the engine could not be opened.
pub(super) async fn run(
    scenario: &Scenario,
    dir: &Path,
    base: &Path,
) -> Result<Vec<Observed>, String> {
    let mut engine = Some(open(dir).await?);
    let mut running: Vec<JoinHandle<Result<Vec<Entry>, BuildError>>> = Vec::new();
    let mut finished = Vec::new();
    let streams: Vec<Arc<Stream>> = scenario.builds.iter().map(|_| Arc::default()).collect();
    for (at, build) in scenario.builds.iter().enumerate() {
        if !build.concurrent_with_previous {
            join(&mut running, &mut finished).await;
        }
        prepare(&mut engine, build, dir).await?;
        if let Some(sign) = &build.start_after_log {
            streams[sign.build].wait_for(sign).await;
        }
        let engine = engine.clone().ok_or("no engine")?;
        let work = Work::new(at, build, dir, base, &streams);
        running.push(tokio::spawn(work.run(engine)));
    }
    join(&mut running, &mut finished).await;
    let observe = |((build, stream), outcome): ((&Build, &Arc<Stream>), _)| Observed {
        seen: stream.seen(&names(&build.definitions())),
        outcome,
    };
    let builds = scenario.builds.iter().zip(&streams);
    Ok(builds.zip(finished).map(observe).collect())
}

async fn join(
    running: &mut Vec<JoinHandle<Result<Vec<Entry>, BuildError>>>,
    finished: &mut Vec<Result<Vec<Entry>, BuildError>>,
) {
    let mut cancelled = false;
    for build in running.drain(..) {
        let outcome = build.await.expect("builds do not panic");
        cancelled |= outcome.as_ref().is_err_and(|error| error.cancelled);
        finished.push(outcome);
    }
    if cancelled {
        tokio::time::sleep(AFTER_CANCEL).await;
    }
}

/// Does what comes before a build: restart, wipe, prune.
async fn prepare(engine: &mut Option<Engine>, build: &Build, dir: &Path) -> Result<(), String> {
    if build.restart_before || build.wipe_before {
        *engine = None;
        if build.wipe_before {
            remove(&dir.join("root"));
        }
        *engine = Some(open(dir).await?);
    }
    match engine {
        Some(engine) if !build.prune_before.is_empty() => prune(engine, &build.prune_before).await,
        _ => Ok(()),
    }
}

async fn prune(engine: &Engine, filters: &[String]) -> Result<(), String> {
    let request = match filters {
        [word] if word == "all" => PruneRequest {
            all: true,
            ..PruneRequest::default()
        },
        [word] if word == "default" => PruneRequest::default(),
        filters => PruneRequest {
            filter: filters.to_vec(),
            ..PruneRequest::default()
        },
    };
    let (removed, mut records) = channel(1);
    let (pruned, ()) = tokio::join!(engine.prune(&request, removed), async {
        while records.recv().await.is_some() {}
    });
    pruned.map_err(|error| error.to_string())
}

fn remove(dir: &Path) {
    std::fs::remove_dir_all(dir).expect("the folder goes");
}

async fn open(dir: &Path) -> Result<Engine, String> {
    let mut options: EngineOptions = fixture::options(dir);
    options
        .frontends
        .insert(DRIVEN.to_owned(), Arc::new(Driver));
    fixture::open(options).await
}

/// The vertices of a build's own definitions by name.
fn names(definitions: &[pb::Definition]) -> HashMap<Digest, String> {
    let metadata = definitions
        .iter()
        .flat_map(|definition| &definition.metadata);
    let name = |(digest, metadata): (&String, &pb::OpMetadata)| {
        let name = metadata.description.get(CUSTOM_NAME)?;
        Some((digest.parse().ok()?, name.clone()))
    };
    metadata.filter_map(name).collect()
}

/// One build, ready to run as a task of its own.
struct Work {
    definitions: Vec<pb::Definition>,
    driven: bool,
    session: LocalSession,
    target: PathBuf,
    stream: Arc<Stream>,
    transfers: Transfers,
    cancel_after: Option<(super::scenario::Sign, Arc<Stream>)>,
}

impl Work {
    fn new(at: usize, build: &Build, dir: &Path, base: &Path, streams: &[Arc<Stream>]) -> Self {
        let target = dir.join(format!("out-{at}.tar"));
        let mut session = LocalSession::builder()
            .file_target(0, &target)
            .local_owner(LocalOwner::AsIs)
            .shared_key(build.shared_key.clone());
        for (name, entries) in &build.locals {
            let folder = dir.join(format!("local-{at}-{name}"));
            session = match entries {
                Value::String(_) => session.local_dir(name, base),
                entries => {
                    locals::make(&folder, entries);
                    session.local_dir(name, folder)
                }
            };
        }
        for (id, value) in &build.secrets {
            session = session.secret_bytes(id, value.clone().into_bytes());
        }
        let transfers = Transfers::of(build, dir);
        session = transfers.offer(session);
        let cancel_after = build.cancel_after_log.clone();
        Self {
            transfers,
            definitions: build.definitions(),
            driven: build.is_driven(),
            session: session.build(),
            target,
            stream: Arc::clone(&streams[at]),
            cancel_after: cancel_after.map(|sign| (sign.clone(), Arc::clone(&streams[sign.build]))),
        }
    }

    async fn run(self, engine: Engine) -> Result<Vec<Entry>, BuildError> {
        let cancel = CancelToken::new();
        let (events, receiver) = unbounded_channel();
        let session = Arc::new(self.session);
        let mut request = BuildRequest::new(source(self.definitions, self.driven), session);
        request.exports.push(ExportRequest {
            kind: "tar".to_owned(),
            attrs: BTreeMap::new(),
        });
        self.transfers.ask(&mut request);
        let canceller = self.cancel_after.map(|(sign, stream)| {
            let cancel = cancel.clone();
            tokio::spawn(async move {
                stream.wait_for(&sign).await;
                tokio::time::sleep(CANCEL_DELAY).await;
                cancel.cancel();
            })
        });
        let (built, ()) = tokio::join!(
            engine.build(request, events, &cancel),
            self.stream.follow(receiver)
        );
        if let Some(canceller) = canceller {
            canceller.abort();
        }
        self.transfers.finish(&built?.exporter_response);
        let tar = std::fs::read(&self.target).expect("the export is there");
        Ok(tar_tree::read(&tar, INLINE_BYTES))
    }
}

fn source(mut definitions: Vec<pb::Definition>, driven: bool) -> BuildSource {
    if !driven {
        return BuildSource::Definition(definitions.pop().unwrap_or_default());
    }
    let inputs = definitions.into_iter().enumerate();
    BuildSource::Frontend {
        name: DRIVEN.to_owned(),
        options: BTreeMap::new(),
        inputs: inputs
            .map(|(at, definition)| (format!("{at:03}"), definition))
            .collect(),
    }
}
