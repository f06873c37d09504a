//! Collecting a cache of many results (row CTL-10).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use lamina_engine::Engine;
use lamina_llb::Snapshot;
use lamina_llb::SnapshotResults;
use lamina_proto::control::PruneRequest;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_solver::CacheStore;
use lamina_solver::KeyId;
use lamina_solver::Record;
use lamina_solver::RedbCache;
use lamina_solver::ResultStore;
use lamina_types::CancelToken;
use lamina_types::Digest;
use tokio::sync::mpsc::channel;

use crate::fixture;
use crate::harness::Outcome;

const RECORDS: usize = 10_000;

/// Steps on top of each other.
const DEPTH: usize = 10;

pub(crate) fn all_records_are_collected() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match of_many_records(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        collect(&engine).await;
        engine.settle().await;
        assert!(engine.snapshots().all_layers().is_empty());
        Outcome::Passed
    })
}

/// Opens an engine that has many results; `Err` = why this machine cannot have one.
pub(crate) async fn of_many_records(dir: &Path) -> Result<Engine, String> {
    let namespace = fixture::engine(dir).await?.snapshots().namespace();
    let store = SnapshotStore::open(&dir.join("root/layers"), namespace);
    fill(dir, store.expect("opens")).await;
    fixture::engine(dir).await
}

/// Collects everything, and returns how long that took.
pub(crate) async fn collect(engine: &Engine) -> Duration {
    let all = PruneRequest {
        all: true,
        ..PruneRequest::default()
    };
    let (removed, mut records) = channel(RECORDS);
    let started = Instant::now();
    engine.prune(&all, removed).await.expect("pruned");
    let took = started.elapsed();
    let mut gone = 0;
    while records.recv().await.is_some() {
        gone += 1;
    }
    assert_eq!(gone, RECORDS);
    took
}

/// Makes results of steps on top of each other.
async fn fill(dir: &Path, store: SnapshotStore) {
    let database = redb::Database::create(dir.join("root/meta.redb")).expect("a database");
    let cache = RedbCache::new(Arc::new(database));
    let results = SnapshotResults::new(store.clone());
    let mut stack = LayerStack::empty();
    for number in 0..RECORDS {
        if number % DEPTH == 0 {
            stack = LayerStack::empty();
        }
        let active = store.prepare(&stack).expect("prepared");
        stack = stack.push(active.commit(&CancelToken::new()).expect("committed"));
        let data = results.save(&Snapshot::from(stack.clone())).await;
        let record = Record {
            data: data.expect("saved"),
            created: SystemTime::now(),
        };
        let key = KeyId::content(Digest::of(&number.to_le_bytes()));
        cache.add_record(key, &record);
    }
    cache.flush().await.expect("written");
}
