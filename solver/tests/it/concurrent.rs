//! Builds at the same time: sharing, leaving, failing.

use std::sync::Arc;
use std::time::Duration;

use lamina_solver::Edge;
use lamina_solver::Event;
use lamina_solver::Job;
use lamina_solver::SolveError;
use lamina_solver::StepError;
use lamina_types::Digest;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use crate::cached::base;
use crate::world::Gate;
use crate::world::Node;
use crate::world::Session;
use crate::world::StepFailed;
use crate::world::Tree;
use crate::world::World;
use crate::world::content;
use crate::world::exec;
use crate::world::merge;
use crate::world::mkfile;

/// A build in a task. Aborting the task is what a client's disconnect does.
pub(crate) struct Running {
    task: JoinHandle<(Result<Tree, SolveError>, Job<Tree, Session>)>,
    pub(crate) events: UnboundedReceiver<Event>,
}

impl Running {
    pub(crate) async fn end(self) -> Result<Tree, SolveError> {
        self.task.await.expect("the task ended by itself").0
    }

    pub(crate) async fn cancel(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }
}

impl World {
    pub(crate) fn start(&self, node: &Arc<Node>) -> Running {
        let (job, events) = self.job();
        let edge: Edge<Tree, Session> = self.edge(node, 0);
        let task = tokio::spawn(async move {
            let outcome = job.solve(&edge).await;
            (outcome, job)
        });
        Running { task, events }
    }

    pub(crate) async fn reached(&self, name: &str) {
        let mut gate = self.state.gate(name).subscribe();
        let reached = gate.wait_for(|gate| *gate >= Gate::Reached).await;
        drop(reached.expect("the gate exists"));
    }

    pub(crate) fn open(&self, name: &str) {
        self.state.gate(name).send_replace(Gate::Open);
    }

    pub(crate) fn close(&self, name: &str) {
        self.state.gate(name).send_replace(Gate::Closed);
    }

    fn count(&self, name: &str) -> usize {
        self.state.runs().iter().filter(|run| *run == name).count()
    }
}

fn gated(build: usize, output: &str) -> Arc<Node> {
    exec("x", &base(build), &[], output).gated()
}

/// The second build's graph has the first's digests, or only its keys.
const SECOND: [(&str, usize); 2] = [("equal digests", 0), ("equal keys", 1)];

#[tokio::test]
async fn a_running_step_is_shared() {
    for (name, unique) in SECOND {
        let world = World::new();
        let first = world.start(&gated(0, "random"));
        world.reached("x").await;
        let second = world.start(&gated(unique, "random"));
        world.open("x");
        let (first, second) = (first.end().await, second.end().await);
        assert_eq!(first.expect(name), second.expect(name), "{name}");
        assert_eq!(world.count("x"), 1, "{name}");
    }
}

#[tokio::test]
async fn two_builds_at_once_run_a_step_once() {
    for (name, unique) in SECOND {
        let world = World::new();
        let first = world.start(&gated(0, "random"));
        let second = world.start(&gated(unique, "random"));
        world.reached("x").await;
        world.open("x");
        let (first, second) = (first.end().await, second.end().await);
        assert_eq!(first.expect(name), second.expect(name), "{name}");
        assert_eq!(world.count("x"), 1, "{name}");
    }
}

/// The second build waits for the step when the first leaves, and the other way round.
#[tokio::test]
async fn a_shared_step_survives_either_build() {
    for (name, unique) in SECOND {
        for first_leaves in [true, false] {
            let world = World::new();
            let first = world.start(&gated(0, "random"));
            world.reached("x").await;
            let mut second = world.start(&gated(unique, "random"));
            joined(&mut second.events).await;
            let (leaves, stays) = if first_leaves {
                (first, second)
            } else {
                (second, first)
            };
            leaves.cancel().await;
            world.open("x");
            assert_eq!(stays.end().await.expect(name)["/x"].len(), 1, "{name}");
            assert_eq!(world.count("x"), 1, "{name}");
            let later = world.build(&gated(2, "random")).await;
            assert_eq!(later.ran, ["base-local"], "{name}");
        }
    }
}

/// Waits until a build sees the log of the running step.
async fn joined(events: &mut UnboundedReceiver<Event>) {
    let run = |data: &[u8]| data.starts_with(b"RAN 2");
    while let Some(event) = events.recv().await {
        if matches!(&event, Event::Log { data, .. } if run(data)) {
            return;
        }
    }
    panic!("the build ended before it joined");
}

#[tokio::test]
async fn a_step_that_all_left_runs_anew() {
    for (name, unique) in SECOND {
        let world = World::new();
        let first = world.start(&gated(0, "random"));
        world.reached("x").await;
        let mut second = world.start(&gated(unique, "random"));
        joined(&mut second.events).await;
        first.cancel().await;
        second.cancel().await;
        world.solver.settled().await;
        world.open("x");
        assert_eq!(
            world.build(&gated(2, "random")).await.ran,
            ["base-local", "x"],
            "{name}"
        );
        assert_eq!(world.count("x"), 2, "{name}");
    }
}

#[tokio::test]
async fn a_failure_is_shared_and_not_remembered() {
    for (name, unique) in SECOND {
        let world = World::new();
        let first = world.start(&gated(0, "fail"));
        world.reached("x").await;
        let mut second = world.start(&gated(unique, "fail"));
        joined(&mut second.events).await;
        world.open("x");
        let [first, second] = [first.end().await, second.end().await].map(|o| o.expect_err(name));
        for error in [&first, &second] {
            assert_eq!(error.to_string(), "exit code: 1", "{name}");
            assert_eq!(error.vertex_name, "x", "{name}");
            assert!(
                error
                    .find::<StepFailed>()
                    .is_some_and(|e| e.0 == "exit code: 1")
            );
        }
        let digest = |unique| world.edge(&gated(unique, "fail"), 0).vertex.digest;
        assert_eq!(
            [first.vertex, second.vertex],
            [digest(0), digest(unique)],
            "{name}"
        );
        assert_eq!(world.count("x"), 1, "{name}");
        assert_eq!(
            world
                .build(&gated(unique, "fail"))
                .await
                .ran_besides(&["base-local"]),
            ["x"]
        );
    }
}

#[tokio::test]
async fn ignoring_builds_join_each_other_but_no_plain_one() {
    let rows = [
        ("plain, ignoring", false, true, 2),
        ("ignoring, ignoring", true, true, 1),
        ("ignoring, plain", true, false, 1),
    ];
    for (name, first, second, runs) in rows {
        for (how, unique) in SECOND {
            let world = World::new();
            let node = |build, ignored: bool| {
                let x = gated(build, "random");
                if ignored { x.ignored() } else { x }
            };
            let first = world.start(&node(0, first));
            world.reached("x").await;
            world.close("x");
            let mut second = world.start(&node(unique, second));
            if runs == 2 {
                world.reached("x").await;
            } else {
                joined(&mut second.events).await;
            }
            world.open("x");
            let (first, second) = (first.end().await, second.end().await);
            let equal = first.expect(name) == second.expect(name);
            assert_eq!(
                (world.count("x"), equal),
                (runs, runs == 1),
                "{name}, {how}"
            );
        }
    }
}

/// The same with a record of an earlier run: a run under way is newer.
#[tokio::test]
async fn a_plain_build_prefers_a_running_renewal_to_a_record() {
    for (name, unique) in [("equal digests", 1), ("equal keys", 2)] {
        let world = World::new();
        world.open("x");
        let old = world.build(&gated(0, "random")).await;
        world.close("x");
        let renewal = world.start(&gated(1, "random").ignored());
        world.reached("x").await;
        let plain = world.start(&gated(unique, "random"));
        tokio::task::yield_now().await;
        world.open("x");
        let (renewal, plain) = (
            renewal.end().await.expect(name),
            plain.end().await.expect(name),
        );
        assert_eq!(renewal, plain, "{name}");
        assert_ne!(plain["/x"], old.file("/x"), "{name}");
        assert_eq!(world.count("x"), 2, "{name}");
    }
}

#[tokio::test]
async fn independent_steps_overlap_and_slots_are_kept() {
    for (slots, together) in [(4, 3), (2, 2), (1, 1), (0, 1)] {
        let world = World::with(
            Arc::new(lamina_solver::MemoryCache::new()),
            Arc::default(),
            slots,
        );
        let base = base(0);
        let steps = ["x", "y", "z"].map(|name| exec(name, &base, &[], "1").gated());
        let build = world.start(&merge("merge", &steps.iter().collect::<Vec<_>>()));
        let mut gates = ["x", "y", "z"].map(|name| world.state.gate(name).subscribe());
        let mut reached = 0;
        while reached < together {
            let changes = gates.iter_mut().map(|gate| Box::pin(gate.changed()));
            futures_util::future::select_all(changes)
                .await
                .0
                .expect("the gate exists");
            reached += 1;
        }
        tokio::task::yield_now().await;
        let begun = ["x", "y", "z"]
            .map(|name| world.count(name))
            .iter()
            .sum::<usize>();
        assert_eq!(begun, together, "{slots} slots");
        for name in ["x", "y", "z"] {
            world.open(name);
        }
        assert_eq!(build.end().await.expect("built").len(), 4);
    }
}

/// Row CFG-06: a build of one step does not wait for all steps of a large one.
#[tokio::test]
async fn builds_take_turns_for_slots() {
    let world = World::with(
        Arc::new(lamina_solver::MemoryCache::new()),
        Arc::default(),
        1,
    );
    let base = base(0);
    world.build(&base).await;
    let many = ["a", "b", "c", "d"].map(|name| exec(name, &base, &[], "1").gated());
    let large = world.start(&merge("merge", &many.iter().collect::<Vec<_>>()));
    // One of them has the only slot, the others wait for it.
    let mut gates = ["a", "b", "c", "d"].map(|name| world.state.gate(name).subscribe());
    let changes = gates.iter_mut().map(|gate| Box::pin(gate.changed()));
    drop(futures_util::future::select_all(changes).await);
    let small = world.start(&exec("small", &base, &[], "1"));
    // There is one thread, and nothing waits for anything else: then it waits for the slot too.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    ["a", "b", "c", "d"]
        .iter()
        .for_each(|name| world.open(name));
    small.end().await.expect("built");
    large.end().await.expect("built");
    let runs = world.state.runs();
    let place = runs.iter().position(|run| run == "small");
    let before = runs
        .iter()
        .take(place.expect("it ran"))
        .filter(|run| many.iter().any(|node| node.name == **run));
    assert_eq!(before.count(), 1, "{runs:?}");
}

#[tokio::test]
async fn a_failure_stops_the_other_branch() {
    let world = World::new();
    let base = base(0);
    let slow = exec("slow", &base, &[], "1").gated();
    let bad = exec("bad", &base, &[], "fail").gated();
    let mut build = world.start(&merge("merge", &[&bad, &slow]));
    world.reached("slow").await;
    world.reached("bad").await;
    world.open("bad");
    let mut stopped = false;
    while let Some(event) = build.events.recv().await {
        if let Event::Vertex(vertex) = event {
            stopped |= vertex.name == "slow" && vertex.error.as_deref() == Some("context canceled");
            if stopped {
                break;
            }
        }
    }
    assert!(stopped);
    assert_eq!(build.end().await.expect_err("failed").vertex_name, "bad");
}

/// A read-only mount is looked at by content while the root is realised: neither waits.
#[tokio::test]
async fn inputs_by_content_and_by_definition_are_realised_together() {
    let world = World::new();
    let root = exec("root", &base(0), &[], "1").gated();
    let mount = exec("mount", &base(0), &[], "1").gated();
    let below = exec("below", &root, &[content(&mount, "/mount")], "1");
    let build = world.start(&crate::world::copy("copy", None, &below, "/"));
    world.reached("mount").await;
    world.reached("root").await;
    world.open("root");
    world.open("mount");
    assert_eq!(build.end().await.expect("built").len(), 3);
    assert_eq!(world.state.runs().len(), 6, "nothing was started twice");
}

#[tokio::test]
async fn a_panic_is_the_error_of_its_step() {
    let world = World::new();
    let built = world.build(&exec("panics", &base(0), &[], "1")).await;
    let error = built.value.expect_err("panicked");
    assert_eq!(
        error.to_string(),
        "internal error: step panicked: as its name says"
    );
    assert!(matches!(error.find(), Some(StepError::Panicked { .. })));
    assert!(
        world
            .build(&exec("x", &base(0), &[], "1"))
            .await
            .value
            .is_ok()
    );
}

#[tokio::test]
async fn an_output_that_no_step_has_is_an_error() {
    let world = World::new();
    let built = world.build_output(&mkfile("m", None, "/f", "1"), 3).await;
    let error = built.value.expect_err("no such output").to_string();
    assert_eq!(
        error,
        "internal error: output 3 was asked of a step with 1 outputs"
    );
}

/// Within a build, what failed is not tried again, and other graphs go on.
#[tokio::test]
async fn a_build_goes_on_after_a_failure() {
    let world = World::new();
    let (job, _events) = world.job();
    let bad = world.edge(&exec("bad", &base(0), &[], "fail"), 0);
    for _ in 0..2 {
        assert!(job.solve(&bad).await.is_err());
    }
    let good = world.edge(&exec("good", &base(0), &[], "1"), 0);
    assert!(job.solve(&good).await.is_ok());
    assert_eq!(world.state.runs(), ["base-local", "base", "bad", "good"]);
}

/// Builds start and leave at random moments; whatever happens, who stays gets the right result.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::print_stdout, reason = "shown with the failure")]
async fn starting_and_leaving_at_random() {
    for seed in 0..40_u64 {
        println!("seed {seed}");
        let world = Arc::new(World::new());
        let tasks =
            (0..6).map(|task| tokio::spawn(start_and_leave(Arc::clone(&world), seed, task)));
        let all = futures_util::future::join_all(tasks);
        let ended = tokio::time::timeout(Duration::from_secs(60), all).await;
        for task in ended.expect("no deadlock") {
            task.expect("no panic");
        }
    }
}

async fn start_and_leave(world: Arc<World>, seed: u64, task: u64) {
    for round in 0..12_u64 {
        let random = Digest::of(format!("{seed} {task} {round}").as_bytes());
        let [unique, patience, leaves, ..] = *random.as_bytes();
        let base = base(usize::from(unique % 2));
        let a = exec("a", &base, &[], "1");
        let b = exec("b", &base, &[content(&a, "/a")], "1");
        let x = exec("x", &a, &[content(&b, "/b")], "1");
        let running = world.start(&merge("m", &[&a, &b, &x]));
        if leaves % 3 == 0 {
            assert_eq!(running.end().await.expect("built").len(), 4);
            continue;
        }
        for _ in 0..patience {
            tokio::task::yield_now().await;
        }
        running.task.abort();
        if let Ok((outcome, _job)) = running.task.await {
            assert_eq!(outcome.expect("built").len(), 4);
        }
    }
}
