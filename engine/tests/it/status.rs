//! Watching builds: rows CSOL-01, CSOL-15, CSTA-01 to CSTA-14 and NET-17.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use lamina_engine::BuildRequest;
use lamina_engine::BuildSource;
use lamina_engine::Engine;
use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_proto::control::BuildHistoryRequest;
use lamina_proto::control::StatusResponse;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use tokio::sync::Notify;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;

use crate::engine::build;
use crate::engine::chain;
use crate::engine::request;
use crate::fixture;
use crate::harness::Outcome;

/// A client that drives its build, and keeps it until told to let it go.
pub(crate) struct Holding {
    definition: lamina_proto::pb::Definition,
    reached: Arc<Notify>,
    release: Arc<Notify>,
}

/// A build that is being held.
pub(crate) struct Held {
    pub(crate) build: JoinHandle<Result<(), BuildError>>,
    pub(crate) release: Arc<Notify>,
}

#[async_trait]
impl Frontend for Holding {
    async fn build(&self, bridge: Arc<dyn Bridge>) -> Result<BuildResult, BuildError> {
        let reference = bridge.solve(self.definition.clone()).await?;
        if let Some(reference) = &reference {
            bridge.evaluate(reference).await?;
        }
        self.reached.notify_one();
        self.release.notified().await;
        Ok(BuildResult::default())
    }
}

impl Held {
    /// Starts a build of `steps` steps and waits until they have run.
    pub(crate) async fn start(engine: &Engine, id: &str, steps: usize) -> Self {
        let (reached, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let frontend = Arc::new(Holding {
            definition: chain(steps, 0),
            reached: Arc::clone(&reached),
            release: Arc::clone(&release),
        });
        let source = BuildSource::Client {
            frontend,
            options: BTreeMap::new(),
            inputs: BTreeMap::new(),
        };
        let session = Arc::new(LocalSession::builder().build());
        let request = BuildRequest {
            id: id.to_owned(),
            ..BuildRequest::new(source, session)
        };
        let engine = engine.clone();
        let build = tokio::spawn(async move {
            let (events, _) = unbounded_channel();
            let built = engine.build(request, events, &CancelToken::new()).await;
            built.map(drop)
        });
        reached.notified().await;
        Self { build, release }
    }

    pub(crate) async fn end(self) {
        self.release.notify_one();
        self.build.await.expect("no panic").expect("builds");
    }
}

async fn watch(engine: &Engine, id: &str) -> Vec<StatusResponse> {
    let messages = engine.status(id).await.expect("known");
    messages.collect().await
}

/// The last state of each vertex by name: started, completed, error.
fn states(messages: &[StatusResponse]) -> BTreeMap<String, (bool, bool, String)> {
    let vertexes = messages.iter().flat_map(|message| &message.vertexes);
    vertexes
        .map(|vertex| {
            let state = (
                vertex.started.is_some(),
                vertex.completed.is_some(),
                vertex.error.clone(),
            );
            (vertex.name.clone(), state)
        })
        .collect()
}

pub(crate) fn watchers_see_all_of_a_build() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let early = {
            let engine = engine.clone();
            tokio::spawn(async move { watch(&engine, "watched").await })
        };
        let held = Held::start(&engine, "watched", 3).await;
        let mut during = engine.status("watched").await.expect("runs");
        let first = during.next().await.expect("a message");
        assert!(!first.vertexes.is_empty(), "from the beginning");
        drop(during);
        held.end().await;
        let early = early.await.expect("watches");
        let done = (true, true, String::new());
        let wanted: BTreeMap<_, _> = (0..3)
            .map(|step| (format!("mkfile /{step}"), done.clone()))
            .collect();
        assert_eq!(states(&early), wanted);
        assert_eq!(
            watch(&engine, "watched").await,
            early,
            "who comes late sees the same"
        );
        drop(engine);
        let engine = fixture::engine(dir.path()).await.expect("opens again");
        assert_eq!(
            watch(&engine, "watched").await,
            early,
            "so does who comes after a restart"
        );
        Outcome::Passed
    })
}

pub(crate) fn ids_are_unique_and_dropped_builds_stop() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let held = Held::start(&engine, "one", 1).await;
        let second = BuildRequest {
            id: "one".to_owned(),
            ..request(chain(1, 1))
        };
        let (refused, _) = build(&engine, second).await;
        let refused = refused.err().expect("refused").to_string();
        assert_eq!(refused, "job ID one exists");
        let messages = engine.status("one").await.expect("runs");
        held.build.abort();
        drop(messages.collect::<Vec<_>>().await);
        let request = BuildHistoryRequest {
            r#ref: "one".to_owned(),
            ..BuildHistoryRequest::default()
        };
        let events = engine.listen_history(&request).await.expect("listens");
        let completed = events.filter_map(|event| async { event.record?.error });
        let error = Box::pin(completed).next().await.expect("it ended");
        assert_eq!(
            (error.code, error.message.as_str()),
            (1, "context canceled")
        );
        Outcome::Passed
    })
}

pub(crate) fn internal_builds_leave_nothing() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let internal = BuildRequest {
            id: "internal".to_owned(),
            internal: true,
            ..request(chain(2, 0))
        };
        let (built, _) = build(&engine, internal).await;
        built.map(drop).expect("builds");
        let seen = states(&watch(&engine, "internal").await);
        assert_eq!(seen.len(), 2, "its progress is complete: {seen:?}");
        let request = BuildHistoryRequest {
            early_exit: true,
            ..BuildHistoryRequest::default()
        };
        let events = engine.listen_history(&request).await.expect("listens");
        assert_eq!(events.count().await, 0);
        assert!(engine.list_blobs().await.is_empty());
        for folder in ["history/live", "history/blobs"] {
            let files = std::fs::read_dir(dir.path().join("root").join(folder));
            assert_eq!(files.expect("a folder").count(), 0, "{folder}");
        }
        Outcome::Passed
    })
}
