//! What runs again and what does not (rows of the cache scenarios that need no real file system).

use std::sync::Arc;

use crate::world::Node;
use crate::world::World;
use crate::world::content;
use crate::world::copy;
use crate::world::diff;
use crate::world::exec;
use crate::world::local;
use crate::world::merge;
use crate::world::mkfile;
use crate::world::two_outputs;

/// Sources run in every build (their key is new each time) and are left out of comparisons.
const SOURCES: &[&str] = &["base-local", "ctx"];

/// Builds the graphs one after the other, and compares what ran.
async fn check(name: &str, builds: &[(Arc<Node>, &[&str])]) {
    let world = World::new();
    for (index, (node, ran)) in builds.iter().enumerate() {
        let built = world.build(node).await;
        assert!(built.value.is_ok(), "{name}, build {index}");
        assert_eq!(built.ran_besides(SOURCES), *ran, "{name}, build {index}");
    }
}

/// A base as the recorded scenarios have it: a copy of a local folder with a new id per build.
pub(crate) fn base(build: usize) -> Arc<Node> {
    let files = [("/bin", "busybox"), ("/unused", "")];
    let folder = local("base-local", &build.to_string(), &files);
    copy("base", None, &folder, "/bin")
}

fn chain(build: usize, steps: &[(&str, &str)]) -> Arc<Node> {
    let add = |root, (name, output): &(&str, &str)| exec(name, &root, &[], output);
    steps.iter().fold(base(build), add)
}

macro_rules! cache_case {
    ($($name:ident: $($node:expr => $ran:expr),+ ;)+) => {$(
        #[tokio::test]
        async fn $name() {
            check(stringify!($name), &[$(($node, &$ran)),+]).await;
        }
    )+};
}

cache_case! {
    file_twice:
        mkfile("m", None, "/f", "1") => ["m"],
        mkfile("m", None, "/f", "1") => [],
        mkfile("m", None, "/f", "2") => ["m"];
    exec_twice:
        chain(0, &[("x", "random")]) => ["base", "x"],
        chain(1, &[("x", "random")]) => [];
    chain_grows_and_shrinks:
        chain(0, &[("a", "random"), ("b", "random")]) => ["a", "b", "base"],
        chain(1, &[("a", "random"), ("b", "random"), ("c", "random")]) => ["c"],
        chain(2, &[("a", "random")]) => [];
    changed_step_reruns_what_follows:
        chain(0, &[("a", "1"), ("b", "1"), ("c", "1")]) => ["a", "b", "base", "c"],
        chain(1, &[("a", "1"), ("b", "2"), ("c", "1")]) => ["b", "c"],
        chain(2, &[("a", "1"), ("b", "1"), ("c", "1")]) => [];
    second_branch:
        exec("x", &base(0), &[], "random") => ["base", "x"],
        merge("merge", &[&exec("x", &base(1), &[], "random"), &exec("y", &base(1), &[], "random")])
            => ["merge", "y"];
    untouched_folder:
        copy("copy", None, &local("ctx", "0", &[("/f", "1")]), "/") => ["copy"],
        copy("copy", None, &local("ctx", "1", &[("/f", "1")]), "/") => [],
        copy("copy", None, &local("ctx", "2", &[("/f", "2")]), "/") => ["copy"],
        copy("copy", None, &local("ctx", "3", &[("/f", "1")]), "/") => [];
    only_what_is_read_counts:
        copy("copy", None, &local("ctx", "0", &[("/f", "1"), ("/g", "1")]), "/f") => ["copy"],
        copy("copy", None, &local("ctx", "1", &[("/f", "1"), ("/g", "2")]), "/f") => [],
        copy("copy", None, &local("ctx", "2", &[("/f", "1"), ("/g", "2")]), "/g") => ["copy"];
    folder_of_another_name:
        copy("copy", None, &local("one", "0", &[("/f", "1")]), "/") => ["copy", "one"],
        copy("copy", None, &local("two", "1", &[("/f", "1")]), "/") => ["two"];
    equal_output_of_another_step:
        copy("copy", None, &mkfile("m", None, "/f", "v"), "/f") => ["copy", "m"],
        copy("copy", None, &exec("f", &base(0), &[], "v"), "/f") => ["base", "f"];
    base_counts_by_definition:
        copy("copy", Some(&mkfile("b", None, "/b", "v")), &local("ctx", "0", &[("/f", "1")]), "/f")
            => ["b", "copy"],
        copy("copy", Some(&mkfile("b", None, "/b", "v")), &local("ctx", "1", &[("/f", "1")]), "/f")
            => [],
        copy("copy", Some(&exec("b", &base(0), &[], "v")), &local("ctx", "2", &[("/f", "1")]), "/f")
            => ["b", "base", "copy"];
    middle_of_equal_content:
        exec("last", &base(0), &[content(&mid(0, "1"), "/gen")], "random")
            => ["base", "gen", "last", "mid"],
        exec("last", &base(1), &[content(&mid(1, "1 "), "/bin")], "random")
            => ["gen", "last", "mid"],
        exec("last", &base(2), &[content(&mid(2, "1"), "/gen")], "random") => [];
    slow_key_of_one_input:
        join(0, "1", "1") => ["a", "b", "base", "join"],
        join(1, "1", "1") => [],
        join(2, "2", "1") => ["a", "join"],
        join(3, "1", "1") => [];
    mixed_pairs_are_no_hit:
        merge("m", &[&mkfile("a", None, "/a", "1"), &mkfile("b", None, "/b", "1")])
            => ["a", "b", "m"],
        merge("m", &[&mkfile("a", None, "/a", "2"), &mkfile("b", None, "/b", "2")])
            => ["a", "b", "m"],
        merge("m", &[&mkfile("a", None, "/a", "1"), &mkfile("b", None, "/b", "2")]) => ["m"];
    merge_counts_order_and_feeds_by_content:
        exec("x", &base(0), &[content(&files(&["1", "2"]), "/")], "random")
            => ["1", "2", "base", "merge", "x"],
        exec("x", &base(1), &[content(&files(&["2", "1"]), "/")], "random") => ["merge"];
    diff_of_changed_lower:
        copy("copy", None, &diff("d", &mkfile("l", None, "/l", "1"), &mkfile("u", None, "/u", "1")), "/u")
            => ["copy", "d", "l", "u"],
        copy("copy", None, &diff("d", &mkfile("l", None, "/l", "2"), &mkfile("u", None, "/u", "1")), "/u")
            => ["d", "l"];
    four_levels_by_content:
        levels(0, "1") => ["base", "l0", "l1", "l2", "l3"],
        levels(1, "1 ") => ["l0"],
        levels(2, "1 ") => [];
}

fn mid(build: usize, output: &str) -> Arc<Node> {
    copy("mid", None, &exec("gen", &base(build), &[], output), "/")
}

fn join(build: usize, a: &str, b: &str) -> Arc<Node> {
    let base = base(build);
    let [a, b] = [("a", a), ("b", b)].map(|(name, out)| exec(name, &base, &[], out));
    exec(
        "join",
        &base,
        &[content(&a, "/a"), content(&b, "/b")],
        "random",
    )
}

fn files(names: &[&str]) -> Arc<Node> {
    let nodes: Vec<_> = names
        .iter()
        .map(|n| mkfile(n, None, &format!("/{n}"), n))
        .collect();
    merge("merge", &nodes.iter().collect::<Vec<_>>())
}

/// Each level reads one by content; the first is another step of equal output.
fn levels(build: usize, first: &str) -> Arc<Node> {
    let base = base(build);
    let l0 = Arc::new(Node {
        key: format!("l0 {first}"),
        ..(*exec("l0", &base, &[], "1")).clone()
    })
    .defined(first);
    (1..4).fold(l0, |below, level| {
        let mount = content(&below, &format!("/l{}", level - 1));
        exec(&format!("l{level}"), &base, &[mount], "1")
    })
}

#[tokio::test]
async fn a_value_that_is_gone_is_made_again() {
    let world = World::new();
    let graph = |build| chain(build, &[("a", "1"), ("b", "random")]);
    assert_eq!(
        world.build(&graph(0)).await.ran_besides(SOURCES),
        ["a", "b", "base"]
    );
    world.state.lose(|tree| !tree.contains_key("/b"));
    let none: [&str; 0] = [];
    assert_eq!(
        world.build(&graph(1)).await.ran_besides(SOURCES),
        none,
        "the end is enough"
    );
    world.state.lose(|tree| tree.contains_key("/b"));
    assert_eq!(
        world.build(&graph(2)).await.ran_besides(SOURCES),
        ["a", "b", "base"]
    );
    assert_eq!(world.build(&graph(3)).await.ran_besides(SOURCES), none);
}

#[tokio::test]
async fn nothing_is_left_after_all_values_are_gone() {
    let world = World::new();
    let graph = |build| chain(build, &[("a", "1"), ("b", "random")]);
    assert_eq!(world.build(&graph(0)).await.ran.len(), 4);
    world.state.lose_values();
    assert_eq!(world.build(&graph(1)).await.ran.len(), 4);
    let mut records = 0;
    world.cache.for_each_record(&mut |_, _| records += 1);
    let lost = 1; // the first build's folder, whose key never comes again
    assert_eq!(records, 4 + lost, "records of lost values are forgotten");
}

/// A second output runs the step again, as with BuildKit: values that nobody asked for are not kept.
#[tokio::test]
async fn a_second_output_runs_again_later_but_not_in_one_build() {
    let world = World::new();
    let graph = |build| two_outputs("x", &base(build));
    assert_eq!(world.build_output(&graph(0), 0).await.file("/first"), "2");
    let second = world.build_output(&graph(1), 1).await;
    assert_eq!(second.ran_besides(SOURCES), ["x"]);
    let none: [&str; 0] = [];
    assert_eq!(world.build_output(&graph(2), 0).await.file("/first"), "2");
    assert_eq!(
        world.build_output(&graph(2), 1).await.ran_besides(SOURCES),
        none
    );

    let world = World::new();
    let x = graph(0);
    let both = merge("both", &[&pick("p", &x, 0), &pick("q", &x, 1)]);
    let built = world.build(&both).await;
    assert_eq!(built.ran_besides(SOURCES), ["base", "both", "p", "q", "x"]);
    assert_eq!(built.file("/first"), built.file("/second"));
}

fn pick(name: &str, node: &Arc<Node>, output: usize) -> Arc<Node> {
    let make = |inputs: &[crate::world::Tree], _| Ok(inputs.to_vec());
    let reads = vec![crate::world::output(node, output)];
    Arc::new(Node::new(name, name, reads, make))
}
