//! Large graphs: depth costs no stack, and a step costs the same in all of them.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use lamina_solver::CacheMap;
use lamina_solver::CacheStore;
use lamina_solver::Edge;
use lamina_solver::KeyId;
use lamina_solver::Link;
use lamina_solver::MemoryCache;
use lamina_solver::Op;
use lamina_solver::OpContext;
use lamina_solver::OpError;
use lamina_solver::Record;
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

/// A store that counts what it is asked for.
#[derive(Default)]
struct Counted {
    store: MemoryCache,
    questions: AtomicUsize,
}

impl Counted {
    fn asked(&self) -> &MemoryCache {
        self.questions.fetch_add(1, Ordering::Relaxed);
        &self.store
    }
}

impl CacheStore for Counted {
    fn links(&self, from: KeyId, link: &Link) -> Vec<KeyId> {
        self.asked().links(from, link)
    }

    fn add_link(&self, from: KeyId, link: &Link, to: KeyId) {
        self.asked().add_link(from, link, to);
    }

    fn records(&self, id: KeyId) -> Vec<Record> {
        self.asked().records(id)
    }

    fn add_record(&self, id: KeyId, record: &Record) {
        self.asked().add_record(id, record);
    }

    fn forget(&self, id: KeyId, data: &[u8]) {
        self.asked().forget(id, data);
    }

    fn for_each_record(&self, visit: &mut dyn FnMut(KeyId, &Record)) {
        self.asked().for_each_record(visit);
    }
}

/// Builds a chain, and again with a solver that has its cache only; returns how often each of the two
/// asked the cache for something.
async fn questions(steps: usize) -> (usize, usize) {
    let cache = Arc::new(Counted::default());
    let world = World::with(Arc::clone(&cache) as _, Arc::default(), 4);
    let graph = chain(steps);
    let ran = world.build(&graph).await.ran;
    assert_eq!(ran.len(), steps);
    let cold = cache.questions.swap(0, Ordering::Relaxed);
    let ran = world.restarted().build(&graph).await.ran;
    assert!(ran.is_empty(), "{ran:?}");
    (cold, cache.questions.load(Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_steps_ask_for_little_each() {
    const MOST_PER_STEP: usize = 8;
    for steps in [50, 1000] {
        let (cold, cached) = questions(steps).await;
        let most = MOST_PER_STEP * steps;
        assert!(
            cold <= most && cached <= most,
            "{steps} steps: {cold} and {cached} questions"
        );
        assert!(cached >= steps, "{cached}: each step is looked for");
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
