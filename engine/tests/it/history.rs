//! The history: rows CTL-15 to CTL-27, and its blobs (row OTH-04).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use lamina_engine::BuildRequest;
use lamina_engine::BuildSource;
use lamina_engine::Engine;
use lamina_engine::EngineOptions;
use lamina_engine::HistoryOptions;
use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_proto::control::BuildHistoryEvent;
use lamina_proto::control::BuildHistoryEventType as Kind;
use lamina_proto::control::BuildHistoryRequest;
use lamina_proto::control::Descriptor;
use lamina_proto::control::StatusResponse;
use lamina_proto::control::UpdateBuildHistoryRequest;
use lamina_proto::pb;
use lamina_proto::rpc;
use lamina_session::LocalSession;
use prost::Message;
use tokio::io::AsyncReadExt;

use crate::engine::build;
use crate::engine::chain;
use crate::engine::request;
use crate::fixture;
use crate::harness::Outcome;
use crate::status::Held;

async fn run(engine: &Engine, id: &str, definition: pb::Definition) {
    let request = BuildRequest {
        id: id.to_owned(),
        ..request(definition)
    };
    drop(build(engine, request).await);
}

fn all() -> BuildHistoryRequest {
    BuildHistoryRequest {
        early_exit: true,
        ..BuildHistoryRequest::default()
    }
}

async fn events(engine: &Engine, request: &BuildHistoryRequest) -> Vec<BuildHistoryEvent> {
    let events = engine.listen_history(request).await.expect("listens");
    events.collect().await
}

/// Kind and id of events.
fn told(events: &[BuildHistoryEvent]) -> Vec<(Kind, String)> {
    let told = |event: &BuildHistoryEvent| {
        let record = event.record.clone().unwrap_or_default();
        (event.r#type(), record.r#ref)
    };
    events.iter().map(told).collect()
}

async fn blob(engine: &Engine, blob: &Descriptor) -> Vec<u8> {
    let digest = blob.digest.parse().expect("a digest");
    assert_eq!(
        engine.blob_size(&digest).await,
        u64::try_from(blob.size).ok()
    );
    let mut data = Vec::new();
    let mut reader = engine.read_blob(&digest, 0).await.expect("is there");
    reader.read_to_end(&mut data).await.expect("is read");
    let mut end = Vec::new();
    let mut reader = engine.read_blob(&digest, 3).await.expect("is there");
    reader.read_to_end(&mut end).await.expect("is read");
    assert_eq!(end, data[3..]);
    data
}

/// Messages of a stored log (row CTL-22).
fn messages(mut log: &[u8]) -> Vec<StatusResponse> {
    let mut messages = Vec::new();
    while let Some((length, rest)) = log.split_first_chunk() {
        let (message, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        messages.push(StatusResponse::decode(message).expect("a message"));
        log = rest;
    }
    messages
}

pub(crate) fn records_tell_all() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        run(&engine, "good", chain(2, 0)).await;
        run(&engine, "again", chain(2, 0)).await;
        let broken = pb::Definition {
            def: vec![b"\xff".to_vec()],
            ..pb::Definition::default()
        };
        run(&engine, "bad", broken).await;
        drop(engine);
        let engine = fixture::engine(dir.path()).await.expect("opens again");
        let found = events(&engine, &all()).await;
        let record = |id: &str| {
            let records = found.iter().filter_map(|event| event.record.as_ref());
            records
                .into_iter()
                .find(|record| record.r#ref == id)
                .expect("recorded")
        };
        let good = record("good");
        let counts = (
            good.num_total_steps,
            good.num_completed_steps,
            good.num_cached_steps,
        );
        assert_eq!(counts, (2, 2, 0));
        assert!(good.completed_at.is_some() && good.error.is_none());
        let log = good.logs.as_ref().expect("a log");
        assert_eq!(log.media_type, "application/vnd.buildkit.status.v0");
        let messages = messages(&blob(&engine, log).await);
        assert!(messages.iter().any(|message| !message.vertexes.is_empty()));
        assert_eq!(
            record("again").num_cached_steps,
            1,
            "the step with an input"
        );
        let bad = record("bad");
        let error = bad.error.as_ref().expect("failed");
        assert!(error.message.starts_with("failed to load LLB"), "{error:?}");
        let external = bad.external_error.as_ref().expect("a blob");
        let stored = rpc::Status::decode(blob(&engine, external).await.as_slice());
        assert_eq!(stored.expect("a status").message, error.message);
        let request = BuildHistoryRequest {
            filter: vec!["status==error".to_owned()],
            ..all()
        };
        let failed = events(&engine, &request).await;
        assert_eq!(told(&failed), [(Kind::Complete, "bad".to_owned())]);
        Outcome::Passed
    })
}

/// Fails as one does that cannot fetch something.
struct Fails(&'static str);

#[async_trait]
impl Frontend for Fails {
    async fn build(&self, _: Arc<dyn Bridge>) -> Result<BuildResult, BuildError> {
        Err(BuildError::new(self.0))
    }
}

pub(crate) fn errors_lose_credentials() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let source = BuildSource::Client {
            frontend: Arc::new(Fails("cannot fetch https://u:hunter2@h/x")),
            options: BTreeMap::new(),
            inputs: BTreeMap::new(),
        };
        let session = Arc::new(LocalSession::builder().build());
        let (built, _) = build(&engine, BuildRequest::new(source, session)).await;
        let error = built.err().expect("fails").message;
        assert_eq!(
            error, "cannot fetch https://u:hunter2@h/x",
            "its client knows it"
        );
        let found = events(&engine, &all()).await;
        let record = found.first().and_then(|event| event.record.as_ref());
        let record = record.expect("a record");
        let error = record.error.as_ref().expect("an error");
        assert_eq!(error.message, "cannot fetch https://xxxxx:xxxxx@h/x");
        let external = record.external_error.as_ref().expect("a blob");
        let stored = rpc::Status::decode(blob(&engine, external).await.as_slice());
        assert_eq!(stored.expect("a status").message, error.message);
        Outcome::Passed
    })
}

fn update(id: &str) -> UpdateBuildHistoryRequest {
    UpdateBuildHistoryRequest {
        r#ref: id.to_owned(),
        ..UpdateBuildHistoryRequest::default()
    }
}

fn delete(id: &str) -> UpdateBuildHistoryRequest {
    UpdateBuildHistoryRequest {
        delete: true,
        ..update(id)
    }
}

pub(crate) fn events_come_in_order() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        run(&engine, "old", chain(1, 0)).await;
        let held = Held::start(&engine, "held", 1).await;
        let live = engine.listen_history(&BuildHistoryRequest::default()).await;
        let live = live.expect("listens");
        held.end().await;
        let pin = UpdateBuildHistoryRequest {
            pinned: true,
            ..update("old")
        };
        engine.update_history(&pin).await.expect("pinned");
        engine
            .update_history(&delete("held"))
            .await
            .expect("deleted");
        let seen: Vec<_> = live.take(5).collect().await;
        let wanted = [
            (Kind::Started, "held"),
            (Kind::Complete, "old"),
            (Kind::Complete, "held"),
            (Kind::Complete, "old"),
            (Kind::Deleted, "held"),
        ];
        assert_eq!(told(&seen), wanted.map(|(kind, id)| (kind, id.to_owned())));
        let pinned = seen[3].record.as_ref().expect("a record");
        assert_eq!((pinned.pinned, pinned.generation), (true, 1));
        for (request, error) in [
            (delete("nothing"), "lease \"ref_nothing\": not found"),
            (
                update("nothing"),
                "failed to retrieve ref nothing: file does not exist",
            ),
        ] {
            let refused = engine.update_history(&request).await.expect_err(error);
            assert_eq!(refused.to_string(), error);
        }
        let finalize = UpdateBuildHistoryRequest {
            finalize: true,
            ..update("old")
        };
        engine
            .update_history(&finalize)
            .await
            .expect("nothing to wait for");
        Outcome::Passed
    })
}

pub(crate) fn only_the_newest_stay() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let options = EngineOptions {
            history: HistoryOptions {
                max_age: Duration::ZERO,
                max_entries: 2,
            },
            ..fixture::options(dir.path())
        };
        let engine = match fixture::open(options).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        run(&engine, "pinned", chain(1, 0)).await;
        let pin = UpdateBuildHistoryRequest {
            pinned: true,
            ..update("pinned")
        };
        engine.update_history(&pin).await.expect("pinned");
        for number in 0..4 {
            run(&engine, &format!("{number}"), chain(1, number)).await;
        }
        let stored = told(&events(&engine, &all()).await);
        let ids: Vec<&str> = stored.iter().map(|(_, id)| id.as_str()).collect();
        assert_eq!(ids, ["2", "3", "pinned"]);
        assert_eq!(engine.list_blobs().await.len(), 3, "one log for each");
        Outcome::Passed
    })
}

pub(crate) fn held_records_go_later() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        run(&engine, "a", chain(1, 0)).await;
        let one = BuildHistoryRequest {
            r#ref: "a".to_owned(),
            ..BuildHistoryRequest::default()
        };
        let listener = engine.listen_history(&one).await.expect("listens");
        engine.update_history(&delete("a")).await.expect("will go");
        assert!(
            events(&engine, &all()).await.is_empty(),
            "nobody sees it any more"
        );
        let refused = engine.listen_history(&one).await.err().expect("is going");
        assert_eq!(refused.to_string(), "ref a is deleted: file does not exist");
        drop(listener);
        assert!(engine.list_blobs().await.is_empty());
        drop(
            engine
                .listen_history(&one)
                .await
                .expect("unknown is no error"),
        );
        Outcome::Passed
    })
}
