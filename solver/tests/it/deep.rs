//! Large graphs: depth costs no stack, and size little time.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use async_trait::async_trait;
use lamina_solver::CacheMap;
use lamina_solver::Edge;
use lamina_solver::Op;
use lamina_solver::OpContext;
use lamina_solver::OpError;
use lamina_solver::RedbCache;
use lamina_solver::Vertex;
use lamina_types::Digest;

use crate::world::Node;
use crate::world::Session;
use crate::world::Tree;
use crate::world::World;
use crate::world::whole;

/// A chain of steps that do nothing.
fn chain(steps: usize) -> Arc<Node> {
    let step = |name: String, reads| {
        let make = |_: &[Tree], _| Ok(vec![Tree::new()]);
        Arc::new(Node::new(&name, &name, reads, make))
    };
    let first = step("0".to_owned(), Vec::new());
    (1..steps).fold(first, |below, n| step(n.to_string(), vec![whole(&below)]))
}

/// Times a cold build and a cached one with a new solver; best of three, since machines are shared.
async fn time(world: &World, edge_of: &Arc<Node>) -> Duration {
    let edge = world.edge(edge_of, 0);
    let (job, events) = world.job();
    let begin = Instant::now();
    job.solve(&edge).await.expect("solved");
    drop(job);
    let elapsed = begin.elapsed();
    drop(events);
    elapsed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "shown with the failure")]
async fn a_thousand_steps_are_quick() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = redb::Database::create(folder.path().join("db")).expect("opened");
    let cache = Arc::new(RedbCache::new(Arc::new(database)));
    let world = World::with(Arc::clone(&cache) as _, Arc::default(), 4);
    for (steps, cold_ms, cached_ms) in [(50, 500, 100), (1000, 3000, 500)] {
        let graph = chain(steps);
        let cold = time(&world, &graph).await;
        cache.flush().await.expect("written");
        let mut cached = Duration::MAX;
        for _ in 0..3 {
            cached = cached.min(time(&world.restarted(), &graph).await);
        }
        println!("{steps} steps: cold {cold:?}, cached {cached:?}");
        assert!(cold < Duration::from_millis(cold_ms), "{cold:?}");
        assert!(cached < Duration::from_millis(cached_ms), "{cached:?}");
    }
}

/// Deeper than any stack: solving, leaving and freeing are loops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_very_deep_graph_needs_no_stack() {
    let world = World::new();
    let edge = deep(10_000);
    let (job, events) = world.job();
    job.solve(&edge).await.expect("solved");
    drop((job, events));
    let (job, events) = world.job();
    let left = tokio::time::timeout(Duration::from_millis(5), job.solve(&edge)).await;
    drop((left, job, events, edge));
}

fn deep(steps: u64) -> Edge<Tree, Session> {
    let step = |inputs, n: u64| Edge {
        vertex: Arc::new(Vertex {
            digest: Digest::of(&n.to_le_bytes()),
            name: String::new(),
            op: Arc::new(Nothing),
            inputs,
            ignore_cache: false,
            progress_group: None,
        }),
        output: 0,
    };
    (1..steps).fold(step(Vec::new(), 0), |below, n| step(vec![below], n))
}

struct Nothing;

#[async_trait]
impl Op<Tree, Session> for Nothing {
    async fn cache_map(&self, _: &OpContext<Session>) -> Result<CacheMap, OpError> {
        let digest = Digest::of(b"nothing");
        Ok(CacheMap {
            digest,
            inputs: Vec::new(),
        })
    }

    async fn content_digest(
        &self,
        _: usize,
        _: &Tree,
        _: &OpContext<Session>,
    ) -> Result<Digest, OpError> {
        Ok(Digest::of(b""))
    }

    async fn exec(&self, _: Vec<Tree>, _: &OpContext<Session>) -> Result<Vec<Tree>, OpError> {
        Ok(vec![Tree::new()])
    }

    fn takes_slot(&self) -> bool {
        true
    }
}
