//! What watchers see (rows CSTA-02 to CSTA-09).

use std::sync::Arc;

use lamina_solver::Event;
use lamina_solver::VertexEvent;
use lamina_types::Digest;
use lamina_types::LogStream;

use crate::cached::base;
use crate::world::Node;
use crate::world::World;
use crate::world::exec;
use crate::world::local;
use crate::world::merge;
use crate::world::mkfile;

/// One letter per event: announced, started, completed, `$` completed and cached, `!` with an error,
/// `l` log.
fn letters(events: &[Event], name: &str) -> String {
    let digest = events.iter().find_map(|event| match event {
        Event::Vertex(vertex) if vertex.name == name => Some(vertex.digest),
        _ => None,
    });
    events
        .iter()
        .filter_map(|event| letter(event, digest))
        .collect()
}

fn letter(event: &Event, digest: Option<Digest>) -> Option<char> {
    match event {
        Event::Vertex(vertex) if Some(vertex.digest) == digest => Some(state(vertex)),
        Event::Log { vertex, .. } if Some(*vertex) == digest => Some('l'),
        _ => None,
    }
}

fn state(vertex: &VertexEvent) -> char {
    match (
        &vertex.started,
        &vertex.completed,
        vertex.cached,
        &vertex.error,
    ) {
        (None, None, false, None) => 'a',
        (Some(_), None, _, None) => 's',
        (Some(_), Some(_), false, None) => 'c',
        (Some(_), Some(_), true, None) => '$',
        (Some(_), Some(_), false, Some(_)) => '!',
        _ => '?',
    }
}

fn three(build: usize, last: &str) -> Arc<Node> {
    let a = exec("a", &base(build), &[], "1");
    exec("c", &exec("b", &a, &[], "1"), &[], last)
}

/// Names of vertices with the letters of their events.
type Rows<'a> = &'a [(&'a str, &'a str)];

/// Builds in turn; each with what each vertex's events must be.
async fn check(builds: &[(Arc<Node>, Rows<'_>)]) {
    let world = World::new();
    for (index, (node, rows)) in builds.iter().enumerate() {
        let built = world.build(node).await;
        for (name, expected) in *rows {
            let seen = letters(&built.events, name);
            assert_eq!(
                seen, *expected,
                "build {index}, {name}: {:#?}",
                built.events
            );
        }
    }
}

macro_rules! event_case {
    ($($name:ident: $($node:expr => $rows:expr),+ ;)+) => {$(
        #[tokio::test]
        async fn $name() {
            check(&[$(($node, &$rows)),+]).await;
        }
    )+};
}

event_case! {
    cold_then_cached_then_changed:
        three(0, "1") => [("base-local", "ascslc"), ("base", "aslc"), ("a", "aslc"), ("c", "aslc")],
        three(1, "1") => [("base-local", "ascslc"), ("base", "a$"), ("a", "a$"), ("b", "a$"), ("c", "as$")],
        three(2, "2") => [("base", "a$"), ("a", "a$"), ("b", "as$"), ("c", "aslc")];
    sources_are_cached_only_if_loaded:
        mkfile("m", None, "/f", "1") => [("m", "ascslc")],
        mkfile("m", None, "/f", "1") => [("m", "ascs$")],
        merge("n", &[&mkfile("m", None, "/f", "1")]) => [("m", "ascs$"), ("n", "aslc")],
        merge("n", &[&mkfile("m", None, "/f", "1")]) => [("m", "asc"), ("n", "as$")];
    failures_have_an_error_and_followers_never_start:
        exec("next", &exec("x", &base(0), &[], "fail"), &[], "1") => [("x", "asl!"), ("next", "a")];
}

#[tokio::test]
async fn all_are_announced_before_any_starts_inputs_first() {
    let world = World::new();
    let built = world.build(&three(0, "1")).await;
    let vertices = built.events.iter().filter_map(|event| match event {
        Event::Vertex(vertex) => Some(vertex),
        _ => None,
    });
    let announced = vertices
        .take(5)
        .map(|v| (v.name.as_str(), state(v), v.inputs.len()));
    let expected = [
        ("base-local", 'a', 0),
        ("base", 'a', 1),
        ("a", 'a', 1),
        ("b", 'a', 1),
        ("c", 'a', 1),
    ];
    assert_eq!(announced.collect::<Vec<_>>(), expected);
}

/// CSTA-06: the time of what was not needed is the start of what was found.
#[tokio::test]
async fn unneeded_inputs_have_the_dependants_start_as_their_only_time() {
    let world = World::new();
    world.build(&three(0, "1")).await;
    let built = world.build(&three(1, "1")).await;
    let last = |name: &str| {
        let named = built.events.iter().rev().find_map(|event| match event {
            Event::Vertex(vertex) if vertex.name == name => Some(vertex.clone()),
            _ => None,
        });
        named.expect(name)
    };
    let start = last("c").started;
    for name in ["base", "a", "b"] {
        assert_eq!(
            (last(name).started, last(name).completed),
            (start, start),
            "{name}"
        );
    }
}

/// CSTA-03: who joins late sees what was before, then what comes.
#[tokio::test]
async fn late_builds_see_everything_under_their_own_names() {
    let world = World::new();
    let x = exec("x", &base(0), &[], "1").gated();
    let first = world.start(&x);
    world.reached("x").await;
    let y = Arc::new(Node {
        name: "y".to_owned(),
        ..(*x).clone()
    });
    let second = world.start(&y);
    tokio::task::yield_now().await;
    world.open("x");
    let mut seen = Vec::new();
    for (mut build, name) in [(first, "x"), (second, "y")] {
        let mut events = Vec::new();
        while !letters(&events, name).ends_with('c') {
            events.push(build.events.recv().await.expect("not over"));
        }
        build.end().await.expect("built");
        seen.push([name, "base", "base-local"].map(|name| letters(&events, name)));
    }
    assert_eq!(seen[0], ["aslc", "aslc", "ascslc"]);
    assert_eq!(seen[0], seen[1]);
}

/// A build whose step is run by another's vertex sees that vertex, and its own as cached.
#[tokio::test]
async fn a_step_run_elsewhere_shows_the_other_and_is_cached() {
    let world = World::new();
    let first = world.start(&exec("x", &base(0), &[], "1").gated());
    world.reached("x").await;
    let y = Arc::new(Node {
        name: "y".to_owned(),
        ..(*exec("x", &base(1), &[], "1")).clone()
    });
    let mut second = world.start(&y);
    let mut events = Vec::new();
    while letters(&events, "x") != "asl" {
        events.push(second.events.recv().await.expect("not over"));
    }
    world.open("x");
    first.end().await.expect("built");
    while letters(&events, "y") != "a$" {
        events.push(second.events.recv().await.expect("not over"));
    }
    second.end().await.expect("built");
    assert_eq!(letters(&events, "x"), "aslc");
}

/// The build after a cancelled one sees its own run only, though the old vertex may still be there.
#[tokio::test]
async fn nothing_of_a_cancelled_run_is_shown_later() {
    let world = World::new();
    let x = exec("x", &base(0), &[], "1").gated();
    let (keeper, _events) = world.job();
    let edge = world.edge(&x, 0);
    {
        let solve = keeper.solve(&edge);
        tokio::select! {
            _ = solve => panic!("the gate is closed"),
            () = world.reached("x") => {}
        }
    }
    world.solver.settled().await;
    world.open("x");
    let later = world.build(&x).await;
    assert_eq!(letters(&later.events, "x"), "aslc");
    drop(keeper);
}

/// So does the build after one that failed and has not ended.
#[tokio::test]
async fn nothing_of_a_failed_run_is_shown_later() {
    let world = World::new();
    let x = exec("x", &base(0), &[], "fail");
    let (keeper, _events) = world.job();
    assert!(keeper.solve(&world.edge(&x, 0)).await.is_err());
    let later = world.build(&x).await;
    assert_eq!(letters(&later.events, "x"), "asl!");
    assert_eq!(later.ran, ["x"]);
    drop(keeper);
}

/// CSTA-07.
#[tokio::test]
async fn what_runs_when_a_build_ends_is_shown_as_cancelled() {
    let world = World::new();
    let mut build = world.start(&exec("x", &base(0), &[], "1").gated());
    world.reached("x").await;
    let mut events = Vec::new();
    while let Ok(event) = build.events.try_recv() {
        events.push(event);
    }
    let mut receiver =
        std::mem::replace(&mut build.events, tokio::sync::mpsc::unbounded_channel().1);
    build.cancel().await;
    while let Some(event) = receiver.recv().await {
        events.push(event);
    }
    assert_eq!(letters(&events, "x"), "asl!");
    let errors = events.iter().filter_map(|event| match event {
        Event::Vertex(vertex) => vertex.error.as_deref(),
        _ => None,
    });
    assert_eq!(errors.collect::<Vec<_>>(), ["context canceled"]);
}

#[tokio::test]
async fn steps_outside_a_graph() {
    let world = World::new();
    let (job, mut receiver) = world.job();
    let export = job.step(Digest::of(b"1"), "exporting");
    export.progress().log(LogStream::Stderr, b"half");
    export.finish(None);
    job.step(Digest::of(b"2"), "failing")
        .finish(Some("full".to_owned()));
    drop(job.step(Digest::of(b"3"), "left"));
    drop(job);
    let mut events = Vec::new();
    while let Some(event) = receiver.recv().await {
        events.push(event);
    }
    for (name, expected) in [("exporting", "aslc"), ("failing", "as!"), ("left", "as!")] {
        assert_eq!(letters(&events, name), expected, "{name}");
    }
}

/// Sources that cannot be resolved fail as themselves.
#[tokio::test]
async fn a_watcher_that_went_away_is_no_trouble() {
    let world = World::new();
    let (job, receiver) = world.job();
    drop(receiver);
    let folder = local("ctx", "0", &[("/f", "1")]);
    assert!(job.solve(&world.edge(&folder, 0)).await.is_ok());
}
