//! Steps that ignore the cache (README of the recorded scenarios, items 1 to 3).

use std::sync::Arc;

use crate::cached::base;
use crate::world::Node;
use crate::world::World;
use crate::world::content;
use crate::world::copy;
use crate::world::exec;
use crate::world::merge;

/// a -> b -> c, where `ignored` names the steps that ignore the cache.
fn three(build: usize, output: &str, ignored: &str) -> Arc<Node> {
    ["a", "b", "c"].iter().fold(base(build), |root, name| {
        let output = if *name == "c" { "random" } else { output };
        let step = exec(name, &root, &[], output);
        if ignored.contains(name) {
            step.ignored()
        } else {
            step
        }
    })
}

/// plain, ignoring, plain, ignoring: what ran in builds 1 and 3, and whose `/c` came out.
async fn check(ignored: &str, output: &str, ran: &[&str], fresh: bool) {
    let world = World::new();
    let first = world.build(&three(0, output, "")).await;
    let mut expected = first.file("/c").to_owned();
    for build in 1..4 {
        let ignored = if build % 2 == 1 { ignored } else { "" };
        let built = world.build(&three(build, output, ignored)).await;
        let steps = built.ran_besides(&["base-local"]);
        let context = format!("{ignored} {output}, build {build}");
        assert_eq!(steps, if build % 2 == 1 { ran } else { &[] }, "{context}");
        if build % 2 == 1 && fresh {
            assert_ne!(built.file("/c"), expected, "{context}");
            expected = built.file("/c").to_owned();
        }
        assert_eq!(built.file("/c"), expected, "{context}");
    }
}

macro_rules! ignore_case {
    ($($name:ident: $ignored:literal runs $ran:expr, fresh $fresh:literal;)+) => {$(
        #[tokio::test]
        async fn $name() {
            check($ignored, "random", &$ran, $fresh).await;
            check($ignored, "fix", &$ran, $fresh).await;
        }
    )+};
}

ignore_case! {
    first: "a" runs ["a", "b"], fresh false;
    middle: "b" runs ["b", "c"], fresh true;
    last: "c" runs ["c"], fresh true;
    first_and_last: "ac" runs ["a", "b", "c"], fresh true;
    all: "abc" runs ["a", "b", "c"], fresh true;
}

#[tokio::test]
async fn content_equal_to_the_old_is_a_hit_below() {
    let world = World::new();
    let graph = |build, ignored: bool| {
        let base = base(build);
        let parent = exec("parent", &base, &[], "fix");
        let parent = if ignored { parent.ignored() } else { parent };
        exec("child", &base, &[content(&parent, "/parent")], "random")
    };
    let first = world.build(&graph(0, false)).await;
    for (build, ignored, ran) in [
        (1, true, vec!["parent"]),
        (2, true, vec!["parent"]),
        (3, false, vec![]),
    ] {
        let built = world.build(&graph(build, ignored)).await;
        assert_eq!(built.ran_besides(&["base-local"]), ran, "build {build}");
        assert_eq!(built.file("/child"), first.file("/child"), "build {build}");
    }
}

#[tokio::test]
async fn merge_above_copies_of_a_fresh_run_is_a_hit() {
    let world = World::new();
    let graph = |build| {
        let x = exec("x", &base(build), &[], "random").ignored();
        merge(
            "merge",
            &[&copy("c1", None, &x, "/x"), &copy("c2", None, &x, "/bin")],
        )
    };
    let first = world.build(&graph(0)).await;
    let second = world.build(&graph(1)).await;
    assert_eq!(second.ran_besides(&["base-local"]), ["c1", "x"]);
    assert_eq!(first.file("/x"), second.file("/x"));
}

/// Where BuildKit would show the old content's key the new content's result, ours stay apart.
#[tokio::test]
async fn content_of_an_old_run_keeps_its_result() {
    let world = World::new();
    let graph = |build: usize, output: &str, ignored: bool| {
        let x = exec("x", &base(build), &[], output);
        let x = Arc::new(Node {
            key: "exec x".to_owned(),
            ..(*x).clone()
        });
        let x = if ignored { x.ignored() } else { x };
        copy("copy", None, &x, "/x")
    };
    assert_eq!(world.build(&graph(0, "old", false)).await.file("/x"), "old");
    assert_eq!(world.build(&graph(1, "new", true)).await.file("/x"), "new");
    assert_eq!(
        world.build(&graph(2, "unused", false)).await.file("/x"),
        "new"
    );
    assert_eq!(world.build(&graph(3, "old", true)).await.file("/x"), "old");
}

#[tokio::test]
async fn twice_in_one_build_runs_once_but_after_a_plain_one_again() {
    let world = World::new();
    let x = |build, ignored| {
        let x = exec("x", &base(build), &[], "random");
        if ignored { x.ignored() } else { x }
    };
    let rows = [
        (0, [true, true], 1),
        (1, [false, true], 1),
        (2, [true, false], 1),
    ];
    for (build, solves, runs) in rows {
        let before = world
            .state
            .runs()
            .iter()
            .filter(|name| *name == "x")
            .count();
        let (job, _events) = world.job();
        for ignored in solves {
            job.solve(&world.edge(&x(build, ignored), 0))
                .await
                .expect("solved");
        }
        let after = world
            .state
            .runs()
            .iter()
            .filter(|name| *name == "x")
            .count();
        assert_eq!(after - before, runs, "build {build}");
    }
}
