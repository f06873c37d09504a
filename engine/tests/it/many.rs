//! Collecting a cache of many results: row CTL-10, and how long that takes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

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

/// How long a collection of all may take on an idle machine.
const BOUND: Duration = Duration::from_millis(500);

/// What a busy machine and a program that is not optimised may take longer.
const SLACK: f64 = 40.0;

pub(crate) fn records_are_collected_quickly() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let namespace = match fixture::engine(dir.path()).await {
            Ok(engine) => engine.snapshots().namespace(),
            Err(reason) => return Outcome::Skipped(reason),
        };
        let store = SnapshotStore::open(&dir.path().join("root/layers"), namespace);
        fill(dir.path(), store.expect("opens")).await;
        let engine = fixture::engine(dir.path()).await.expect("opens");
        let all = PruneRequest {
            all: true,
            ..PruneRequest::default()
        };
        let (removed, mut records) = channel(RECORDS);
        let started = Instant::now();
        engine.prune(&all, removed).await.expect("pruned");
        let took = started.elapsed();
        let ratio = fixture::figure("collection of 10,000 records", took, BOUND);
        let mut gone = 0;
        while records.recv().await.is_some() {
            gone += 1;
        }
        assert_eq!(gone, RECORDS);
        assert!(ratio < SLACK, "{took:?}");
        engine.settle().await;
        Outcome::Passed
    })
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
