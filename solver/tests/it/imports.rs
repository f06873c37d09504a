//! Caches that move between solvers (rows CSOL-12, CEX-01, CIM-05).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use lamina_solver::CacheMode;
use lamina_solver::GraphCache;
use lamina_solver::Import;
use lamina_solver::OpError;
use lamina_solver::ResultStore;
use lamina_types::CacheGraph;

use crate::world::Node;
use crate::world::Tree;
use crate::world::World;
use crate::world::copy;
use crate::world::exec;
use crate::world::local;
use crate::world::merge;

const SOURCES: &[&str] = &["base-local", "ctx"];

/// A cache somewhere else; counts what is fetched.
#[derive(Default)]
struct Elsewhere {
    values: Mutex<Vec<Tree>>,
    fetched: Mutex<Vec<Tree>>,
}

#[async_trait]
impl ResultStore<Tree> for Elsewhere {
    async fn save(&self, _: &Tree) -> Result<Vec<u8>, OpError> {
        panic!("an import is not written to");
    }

    async fn load(&self, record: &[u8]) -> Option<Tree> {
        let value = self.values.lock().unwrap().get(record[0] as usize)?.clone();
        self.fetched.lock().unwrap().push(value.clone());
        Some(value)
    }
}

impl Elsewhere {
    fn import(self: &Arc<Self>, graph: CacheGraph<Tree>) -> Import<Tree> {
        let keep = |value: Tree| {
            let mut values = self.values.lock().unwrap();
            values.push(value);
            u8::try_from(values.len() - 1).ok().map(|place| vec![place])
        };
        Import {
            cache: Arc::new(GraphCache::new(graph.map(keep)).expect("makes sense")),
            results: Arc::clone(self) as _,
        }
    }

    fn lose(&self) {
        self.values.lock().unwrap().clear();
    }

    fn fetched(&self) -> usize {
        self.fetched.lock().unwrap().len()
    }
}

/// Builds in `world` and returns the cache.
async fn exported(world: &World, node: &Arc<Node>, mode: CacheMode) -> CacheGraph<Tree> {
    let (job, _events) = world.job();
    let edge = world.edge(node, 0);
    job.solve(&edge).await.expect("builds");
    job.cache_graph(&[edge], mode, &HashMap::new()).await
}

/// Builds in `world` with caches, and returns what ran, without sources.
async fn ran_with(world: &World, node: &Arc<Node>, imports: Vec<Import<Tree>>) -> Vec<String> {
    let before = world.state.runs().len();
    let (job, _events) = world.job();
    imports.into_iter().for_each(|import| job.import(import));
    job.solve(&world.edge(node, 0)).await.expect("builds");
    let mut ran = world.state.runs().split_off(before);
    ran.retain(|name| !SOURCES.contains(&name.as_str()));
    ran.sort();
    ran
}

fn base(build: &str) -> Arc<Node> {
    let folder = local("base-local", build, &[("/bin", "busybox")]);
    copy("base", None, &folder, "/bin")
}

/// base -> a -> b -> c; each writes its text, which is in its key.
fn chain(build: &str, texts: [&str; 3]) -> Arc<Node> {
    let add = |below: Arc<Node>, (name, text): (&str, &str)| exec(name, &below, &[], text);
    let steps = ["a", "b", "c"].into_iter().zip(texts);
    steps.fold(base(build), add)
}

#[tokio::test]
async fn what_a_cache_has_does_not_run() {
    for (mode, changed, ran) in [
        (CacheMode::Min, ["a", "b", "c"], &[][..]),
        (CacheMode::Max, ["a", "b", "c"], &[]),
        (CacheMode::Min, ["a", "b", "c2"], &["a", "b", "base", "c"]),
        (CacheMode::Max, ["a", "b", "c2"], &["c"]),
        (CacheMode::Max, ["a", "b2", "c"], &["b", "c"]),
        (CacheMode::Max, ["a2", "b", "c"], &["a", "b", "c"]),
    ] {
        let graph = exported(&World::new(), &chain("1", ["a", "b", "c"]), mode).await;
        let elsewhere = Arc::new(Elsewhere::default());
        let imports = vec![elsewhere.import(graph)];
        let fresh = World::new();
        let found = ran_with(&fresh, &chain("2", changed), imports).await;
        assert_eq!(found, ran, "{mode:?} {changed:?}");
        assert!(
            elsewhere.fetched() <= 1,
            "{mode:?} {changed:?}: only what is used is fetched"
        );
    }
}

#[tokio::test]
async fn what_was_used_is_known_without_the_cache_and_after_a_restart() {
    let graph = exported(&World::new(), &chain("1", ["a", "b", "c"]), CacheMode::Max).await;
    let fresh = World::new();
    let imports = vec![Arc::new(Elsewhere::default()).import(graph)];
    assert!(
        ran_with(&fresh, &chain("2", ["a", "b", "c"]), imports)
            .await
            .is_empty()
    );
    let later = fresh.restarted();
    assert!(
        ran_with(&later, &chain("3", ["a", "b", "c"]), vec![])
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_cache_that_lost_its_values_is_none() {
    let graph = exported(&World::new(), &chain("1", ["a", "b", "c"]), CacheMode::Max).await;
    let elsewhere = Arc::new(Elsewhere::default());
    let imports = vec![elsewhere.import(graph)];
    elsewhere.lose();
    let ran = ran_with(&World::new(), &chain("2", ["a", "b", "c"]), imports).await;
    assert_eq!(ran, ["a", "b", "base", "c"]);
}

#[tokio::test]
async fn own_results_win() {
    let graph = exported(&World::new(), &chain("1", ["a", "b", "c"]), CacheMode::Max).await;
    let own = World::new();
    own.build(&chain("2", ["a", "b", "c"])).await;
    let elsewhere = Arc::new(Elsewhere::default());
    let imports = vec![elsewhere.import(graph)];
    assert!(
        ran_with(&own, &chain("3", ["a", "b", "c"]), imports)
            .await
            .is_empty()
    );
    assert_eq!(elsewhere.fetched(), 0);
}

#[tokio::test]
async fn several_caches_complete_each_other() {
    let half = |name: &str, build: &str| exec(name, &base(build), &[], "random");
    let elsewhere = Arc::new(Elsewhere::default());
    let mut imports = Vec::new();
    for name in ["x", "y"] {
        let graph = exported(&World::new(), &half(name, name), CacheMode::Min).await;
        imports.push(elsewhere.import(graph));
    }
    let both = merge("both", &[&half("x", "z"), &half("y", "z")]);
    let ran = ran_with(&World::new(), &both, imports).await;
    assert_eq!(ran, ["both"]);
}

#[tokio::test]
async fn what_was_imported_can_be_exported_again() {
    let graph = exported(&World::new(), &chain("1", ["a", "b", "c"]), CacheMode::Max).await;
    let middle = World::new();
    let (job, _events) = middle.job();
    job.import(Arc::new(Elsewhere::default()).import(graph));
    let edge = middle.edge(&chain("2", ["a", "b", "c"]), 0);
    job.solve(&edge).await.expect("builds");
    let again = job
        .cache_graph(&[edge], CacheMode::Max, &HashMap::new())
        .await;
    let imports = vec![Arc::new(Elsewhere::default()).import(again)];
    let ran = ran_with(&World::new(), &chain("3", ["a", "b", "c2"]), imports).await;
    assert_eq!(ran, ["c"], "also the steps that did not have to be loaded");
}

#[tokio::test]
async fn definitions_may_want_a_result_or_not() {
    let world = World::new();
    let (job, _events) = world.job();
    let edge = world.edge(&chain("1", ["a", "b", "c"]), 0);
    job.solve(&edge).await.expect("builds");
    let c = edge.vertex.digest;
    let a = edge.vertex.inputs[0].vertex.inputs[0].vertex.digest;
    for (mode, said, results) in [
        (CacheMode::Min, vec![], 1),
        (CacheMode::Min, vec![(a, true)], 2),
        (CacheMode::Min, vec![(c, false)], 1),
        (CacheMode::Max, vec![], 4),
        (CacheMode::Max, vec![(c, false)], 3),
    ] {
        let overrides = said.iter().copied().collect();
        let graph = job
            .cache_graph(std::slice::from_ref(&edge), mode, &overrides)
            .await;
        let found: usize = graph
            .records
            .iter()
            .map(|record| record.results.len())
            .sum();
        assert_eq!(found, results, "{mode:?} {said:?}");
    }
}
