//! What a build has seen stays until it ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::Weak;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use lamina_solver::CacheMap;
use lamina_solver::Edge;
use lamina_solver::MemoryCache;
use lamina_solver::Op;
use lamina_solver::OpContext;
use lamina_solver::OpError;
use lamina_solver::ResultStore;
use lamina_solver::Solver;
use lamina_solver::SolverOptions;
use lamina_solver::Vertex;
use lamina_types::Digest;
use tokio::sync::mpsc::unbounded_channel;

/// Numbers its runs.
#[derive(Default)]
struct Counter(AtomicU8);

#[async_trait]
impl Op<Arc<u8>, ()> for Counter {
    async fn cache_map(&self, _: &OpContext<()>) -> Result<CacheMap, OpError> {
        Ok(CacheMap {
            digest: Digest::of(b"counter"),
            inputs: Vec::new(),
        })
    }

    async fn content_digest(
        &self,
        _: usize,
        value: &Arc<u8>,
        _: &OpContext<()>,
    ) -> Result<Digest, OpError> {
        Ok(Digest::of(&[**value]))
    }

    async fn exec(&self, _: Vec<Arc<u8>>, _: &OpContext<()>) -> Result<Vec<Arc<u8>>, OpError> {
        Ok(vec![Arc::new(self.0.fetch_add(1, Ordering::Relaxed))])
    }

    fn takes_slot(&self) -> bool {
        true
    }
}

/// Collects garbage at once: a value is gone when nobody holds it.
#[derive(Default)]
struct Forgetful(Mutex<HashMap<u8, Weak<u8>>>);

#[async_trait]
impl ResultStore<Arc<u8>> for Forgetful {
    async fn save(&self, value: &Arc<u8>) -> Result<Vec<u8>, OpError> {
        self.0
            .lock()
            .unwrap()
            .insert(**value, Arc::downgrade(value));
        Ok(vec![**value])
    }

    async fn load(&self, record: &[u8]) -> Option<Arc<u8>> {
        self.0.lock().unwrap().get(&record[0])?.upgrade()
    }
}

#[tokio::test]
async fn values_live_as_long_as_a_build_that_saw_them() {
    let options = SolverOptions { slots: 1 };
    let results = Arc::new(Forgetful::default());
    let solver = Solver::new(Arc::new(MemoryCache::new()), results, options);
    let op = Arc::new(Counter::default());
    let edge = |name: &str| Edge {
        vertex: Arc::new(Vertex {
            digest: Digest::of(name.as_bytes()),
            name: name.to_owned(),
            op: Arc::clone(&op) as _,
            inputs: Vec::new(),
            ignore_cache: false,
            progress_group: None,
        }),
        output: 0,
    };
    let job = || solver.job(Arc::new(()), unbounded_channel().0);

    let [first, second, third] = [job(), job(), job()];
    assert_eq!(first.solve(&edge("x")).await.map(|v| *v).ok(), Some(0));
    assert_eq!(second.solve(&edge("y")).await.map(|v| *v).ok(), Some(0));
    drop(first);
    assert_eq!(
        third.solve(&edge("z")).await.map(|v| *v).ok(),
        Some(0),
        "the second holds it"
    );
    drop((second, third));
    assert_eq!(
        job().solve(&edge("x")).await.map(|v| *v).ok(),
        Some(1),
        "nobody held it"
    );
}
