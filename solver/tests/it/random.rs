//! Random graphs against a naive model.
//!
//! The model knows what each step's value is, by computing it, and which computation it is: its key
//! with, for each input, the content that it reads or the input's own computation. The solver must
//! return the value, and must never run a computation twice - whatever was built before, in which
//! order, at the same time, or under which names.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use lamina_solver::MemoryCache;
use proptest::prelude::ProptestConfig;
use proptest::prelude::any;
use proptest::prelude::prop;
use proptest::proptest;

use crate::world::Node;
use crate::world::Tree;
use crate::world::World;
use crate::world::content;
use crate::world::whole;

/// One step: its op, and the steps below it with how they are read.
type Row = (u8, Vec<(u8, bool)>);

/// Runs per computation.
type Runs = Arc<Mutex<HashMap<String, usize>>>;

/// A node with what the model says about it.
#[derive(Clone)]
struct Modelled {
    node: Arc<Node>,
    value: Tree,
    computation: String,
}

/// Builds the graph. `variant` gives sources other names and definitions with few different values.
fn graph(rows: &[Row], variant: u8, runs: &Runs) -> Vec<Modelled> {
    let mut steps: Vec<Modelled> = Vec::new();
    for (index, (op, inputs)) in rows.iter().enumerate() {
        let below: Vec<_> = inputs
            .iter()
            .filter(|_| index > 0)
            .map(|(at, by_content)| (steps[usize::from(*at) % index].clone(), *by_content))
            .collect();
        steps.push(step(*op % 5, &below, variant, runs));
    }
    steps
}

fn step(op: u8, below: &[(Modelled, bool)], variant: u8, runs: &Runs) -> Modelled {
    let key = if below.is_empty() {
        format!("source {op} {}", variant % 3)
    } else {
        format!("op {op}")
    };
    let part = |(input, by_content): &(Modelled, bool)| match by_content {
        true => format!("{:?}", input.value),
        false => input.computation.clone(),
    };
    let parts: Vec<_> = below.iter().map(part).collect();
    let computation = lamina_types::Digest::of(format!("{key} {parts:?}").as_bytes()).hex();
    let inputs: Vec<_> = below.iter().map(|(input, _)| input.value.clone()).collect();
    let (runs, counted) = (Arc::clone(runs), computation.clone());
    let (op_of, variant_of) = (op, variant);
    let make = move |inputs: &[Tree], _| {
        *runs.lock().unwrap().entry(counted.clone()).or_default() += 1;
        Ok(vec![compute(op_of, variant_of, inputs)])
    };
    let read = |(input, by_content): &(Modelled, bool)| match by_content {
        true => content(&input.node, "/"),
        false => whole(&input.node),
    };
    let node = Node::new(&key, &key, below.iter().map(read).collect(), make);
    Modelled {
        node: Arc::new(node).defined(&format!("{key} {variant}")),
        value: compute(op, variant, &inputs),
        computation,
    }
}

/// Values are few, so that different computations often have equal content.
fn compute(op: u8, variant: u8, inputs: &[Tree]) -> Tree {
    let sum: usize = inputs.iter().flat_map(Tree::values).map(String::len).sum();
    let value = if inputs.is_empty() {
        usize::from(variant % 3 / 2)
    } else {
        sum
    };
    Tree::from([("/v".to_owned(), "v".repeat((value + usize::from(op)) % 3))])
}

fn rows() -> impl proptest::strategy::Strategy<Value = Vec<Row>> {
    let inputs = prop::collection::vec((any::<u8>(), any::<bool>()), 0..4);
    prop::collection::vec((any::<u8>(), inputs), 1..14)
}

async fn check(rows: Vec<Row>, builds: Vec<Vec<(u8, u8)>>, slots: usize) {
    let world = World::with(Arc::new(MemoryCache::new()), Arc::default(), slots);
    let runs = Runs::default();
    for together in builds {
        let solves = together.iter().map(|(variant, target)| {
            let steps = graph(&rows, *variant, &runs);
            let target = steps[usize::from(*target) % steps.len()].clone();
            let (job, events) = world.job();
            let edge = world.edge(&target.node, 0);
            async move {
                let value = job.solve(&edge).await.expect("solved");
                assert_eq!(value, target.value);
                drop(events);
            }
        });
        let all = futures_util::future::join_all(solves);
        let ended = tokio::time::timeout(Duration::from_secs(30), all).await;
        drop(ended.expect("no deadlock"));
    }
    let runs = runs.lock().unwrap();
    let twice: Vec<_> = runs.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn builds_are_right_and_run_nothing_twice(
        rows in rows(),
        builds in prop::collection::vec(prop::collection::vec((0..6_u8, any::<u8>()), 1..4), 1..6),
        slots in 1..3_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(check(rows, builds, slots));
    }
}
