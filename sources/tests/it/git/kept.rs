//! A kept `.git`, and submodules (rows SRC-17, SRC-21).

use std::fs;
use std::path::Path;

use lamina_snapshotter::LayerStack;
use lamina_testkit::git::Repositories;
use lamina_testkit::git::Repository;
use lamina_testkit::server::Server;

use super::engine;
use super::request;
use crate::support::Engine;
use crate::support::entry;
use crate::support::paths;

/// Copies a layer's files to a folder, where git can look at them.
fn unpack(stack: &LayerStack, to: &Path) -> Repository {
    for path in paths(stack) {
        let found = entry(stack, &format!("/{path}"));
        if found.stat().is_dir() {
            fs::create_dir_all(to.join(&path)).expect("made");
        } else {
            let mut file = fs::File::create(to.join(&path)).expect("made");
            std::io::copy(&mut found.open().expect("opens"), &mut file).expect("copied");
        }
    }
    Repository {
        path: to.to_owned(),
    }
}

fn kept(engine: &Engine, server: &Server, name: &str) -> LayerStack {
    let wanted = request(server, "a.git", name).attr("git.keepgitdir", "true");
    engine.get(&wanted).expect("there")
}

#[test]
fn a_kept_repository_is_whole() {
    let all = Repositories::new();
    let repository = all.make("a.git", &[("f", "1")]);
    repository.git(&["tag", "v1"]);
    repository.git(&["tag", "--annotate", "--message=t", "v2"]);
    let commit = repository.head();
    let server = all.serve();
    let engine = engine();
    for (name, refs) in [
        ("main", &["refs/heads/main"][..]),
        ("v1", &["refs/tags/v1"][..]),
        ("v2", &["refs/tags/v2"][..]),
        (&*commit, &["refs/tags/v1", "refs/tags/v2"][..]),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let stack = kept(&engine, &server, name);
        let found = unpack(&stack, dir.path());
        assert_eq!(found.head(), commit, "{name}");
        assert_eq!(found.git(&["status", "--porcelain"]), "", "{name}");
        let origin = format!("http://{}/a.git", server.host());
        assert_eq!(
            found.git(&["remote", "get-url", "origin"]),
            origin,
            "{name}"
        );
        let listed = found.git(&["for-each-ref", "--format=%(refname)"]);
        assert_eq!(listed.lines().collect::<Vec<_>>(), refs, "{name}");
        found.git(&["fsck", "--strict"]);
        assert_names_no_place(&stack, &engine);
    }
    let described = {
        let dir = tempfile::tempdir().expect("a folder");
        unpack(&kept(&engine, &server, &commit), dir.path()).git(&["describe"])
    };
    assert_eq!(described, "v2");
}

/// Nothing in an image may say where the engine keeps its state.
fn assert_names_no_place(stack: &LayerStack, engine: &Engine) {
    let place = engine.dir.path().display().to_string();
    for path in paths(stack) {
        let found = entry(stack, &format!("/{path}"));
        if found.stat().is_dir() {
            continue;
        }
        let mut data = Vec::new();
        let mut file = found.open().expect("opens");
        std::io::Read::read_to_end(&mut file, &mut data).expect("read");
        let text = String::from_utf8_lossy(&data);
        assert!(!text.contains(&place), "{path}: {text}");
    }
}

#[test]
fn a_part_of_a_checkout_has_no_repository() {
    let all = Repositories::new();
    all.make("a.git", &[("d/f", "1")]);
    let server = all.serve();
    let engine = engine();
    let stack = kept(&engine, &server, "main:d");
    assert_eq!(paths(&stack), ["f"]);
}

#[test]
fn submodules_come_along_unless_they_are_not_wanted() {
    let all = Repositories::new();
    let inner = all.make("c.git", &[("g", "3")]);
    let old = inner.head();
    inner.commit(&[("g", "4")]);
    let sub = all.make("b.git", &[("f", "2")]);
    let server = all.serve();
    let url = |name: &str| format!("http://{}/{name}", server.host());
    sub.git(&["submodule", "--quiet", "add", &url("c.git"), "inner"]);
    let module = Repository {
        path: sub.path.join("inner"),
    };
    module.git(&["checkout", "--quiet", &old]);
    sub.commit(&[]);
    let top = all.make("a.git", &[("f", "1")]);
    // Relative to where the repository itself is.
    top.git(&[
        "-c",
        "remote.origin.url=http://x/",
        "submodule",
        "--quiet",
        "add",
        &url("b.git"),
        "sub",
    ]);
    top.git(&[
        "config",
        "--file=.gitmodules",
        "submodule.sub.url",
        "../b.git",
    ]);
    top.commit(&[]);
    let engine = engine();
    let wanted = request(&server, "a.git", "main");
    let all_paths = [
        ".gitmodules",
        "f",
        "sub",
        "sub/.gitmodules",
        "sub/f",
        "sub/inner",
        "sub/inner/g",
    ];
    let stack = engine.get(&wanted).expect("there");
    assert_eq!(paths(&stack), all_paths);
    let mut text = String::new();
    let mut file = entry(&stack, "/sub/inner/g").open().expect("opens");
    std::io::Read::read_to_string(&mut file, &mut text).expect("read");
    assert_eq!(text, "3", "the commit that is recorded, not the newest");
    let without = wanted.attr("git.skipsubmodules", "true");
    assert_eq!(
        paths(&engine.get(&without).expect("there")),
        [".gitmodules", "f", "sub"]
    );
    let stack = kept(&engine, &server, "main");
    let dir = tempfile::tempdir().expect("a folder");
    let found = unpack(&stack, dir.path());
    assert_eq!(found.git(&["status", "--porcelain"]), "");
    assert_names_no_place(&stack, &engine);
}
