//! Copies beyond what the golden data shows: links, determinism, depth, cancellation.

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::CopyMode;
use lamina_fileops::FileOpError;
use lamina_fileops::Owner;
use lamina_fileops::UserRef;
use lamina_fileops::apply;
use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Entry;
use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Tree;
use lamina_types::CancelToken;
use lamina_types::RootedPath;

use crate::machine::Machine;

/// Makes a tree: names that end in `/` are directories, `a -> b` are hard links.
pub(crate) fn tree(machine: &Machine, names: &[&str]) -> LayerStack {
    use std::io::Write;
    let layer = machine.on(&LayerStack::empty());
    let upper = layer.writer();
    for name in names {
        let (name, target) = name.split_once(" -> ").unwrap_or((name, ""));
        let path = RootedPath::new(name);
        let dir = upper.dir(&path.parent().expect("a parent")).expect(name);
        let last = path.file_name().expect("a name");
        if name.ends_with('/') {
            dir.make_dir(last, 0o755).expect(name);
        } else if target.is_empty() {
            let mut file = dir.create_file(last, 0o644).expect(name);
            file.write_all(name.as_bytes()).expect(name);
        } else {
            let first = find(&layer.tree(), target);
            dir.link_from(last, &first).expect(name);
        }
    }
    drop(upper);
    machine.seal(layer)
}

pub(crate) fn find(tree: &Tree, path: &str) -> Entry {
    tree.lookup(&RootedPath::new(path), Follow::Parents)
        .expect(path)
}

fn exists(tree: &Tree, path: &str) -> bool {
    tree.lookup(&RootedPath::new(path), Follow::Parents).is_ok()
}

pub(crate) fn copy(source: &str, destination: &str) -> CopyAction {
    CopyAction {
        source: source.into(),
        destination: destination.into(),
        create_parents: true,
        directory_contents: true,
        allow_wildcard: true,
        follow_symlink: true,
        ..CopyAction::default()
    }
}

pub(crate) fn run(
    action: CopyAction,
    layer: &ActiveLayer,
    source: &Tree,
) -> Result<(), FileOpError> {
    apply(
        &Action::Copy(action),
        layer,
        Some(source),
        &CancelToken::new(),
    )
}

pub(crate) fn inode(tree: &Tree, path: &str) -> u64 {
    find(tree, path).origin().inode
}

#[test]
fn unchanged_files_become_links_and_use_no_space() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let source = tree(&machine, &["/d/", "/d/a", "/d/b"]);
    let layer = machine.on(&LayerStack::empty());
    run(copy("/d", "/out"), &layer, &source.tree()).expect("copy");
    let copied = machine.seal(layer).tree();
    for name in ["a", "b"] {
        let (from, to) = (format!("/d/{name}"), format!("/out/{name}"));
        assert_eq!(inode(&source.tree(), &from), inode(&copied, &to), "{name}");
    }
}

#[test]
fn changed_files_get_inodes_of_their_own() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let source = tree(&machine, &["/a"]);
    let owner = Some(Owner {
        user: Some(UserRef::Id(3)),
        group: None,
    });
    for (name, action) in [
        (
            "owner",
            CopyAction {
                owner,
                ..copy("/a", "/b")
            },
        ),
        (
            "mode",
            CopyAction {
                mode: CopyMode::Bits(0o600),
                ..copy("/a", "/b")
            },
        ),
        (
            "time",
            CopyAction {
                timestamp: Some(0),
                ..copy("/a", "/b")
            },
        ),
    ] {
        let layer = machine.on(&LayerStack::empty());
        run(action, &layer, &source.tree()).expect(name);
        assert_ne!(
            inode(&source.tree(), "/a"),
            inode(&layer.tree(), "/b"),
            "{name}"
        );
        assert_eq!(
            find(&source.tree(), "/a").stat().mode,
            0o644,
            "{name}: the source stays"
        );
    }
}

#[test]
fn one_inode_has_one_name_in_a_view() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let source = tree(&machine, &["/a"]);
    // The same file twice in one layer.
    let layer = machine.on(&LayerStack::empty());
    run(copy("/a", "/one"), &layer, &source.tree()).expect("copy");
    run(copy("/a", "/two"), &layer, &source.tree()).expect("copy");
    assert_ne!(inode(&layer.tree(), "/one"), inode(&layer.tree(), "/two"));
    // Onto the layer that has the file.
    let layer = machine.on(&source);
    run(copy("/a", "/b"), &layer, &source.tree()).expect("copy");
    assert_ne!(inode(&layer.tree(), "/a"), inode(&layer.tree(), "/b"));
}

#[test]
fn hard_links_stay_links_within_one_copy() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let source = tree(
        &machine,
        &["/d/", "/d/e/", "/d/e/x", "/d/y -> /d/e/x", "/d/z"],
    );
    for (name, timestamp) in [("by link", None), ("by data", Some(7_000_000_000))] {
        let layer = machine.on(&LayerStack::empty());
        let action = CopyAction {
            timestamp,
            ..copy("/d", "/out")
        };
        run(action, &layer, &source.tree()).expect(name);
        let copied = machine.seal(layer).tree();
        assert_eq!(
            inode(&copied, "/out/e/x"),
            inode(&copied, "/out/y"),
            "{name}"
        );
        assert_ne!(inode(&copied, "/out/z"), inode(&copied, "/out/y"), "{name}");
        if let Some(time) = timestamp {
            for path in ["/out", "/out/e", "/out/e/x"] {
                let mtime_ns = find(&copied, path).stat().mtime_ns;
                assert_eq!(mtime_ns, time.into(), "{name}: {path}");
            }
        }
    }
}

#[test]
fn of_many_conflicts_the_first_in_path_order_is_told() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let names: Vec<String> = (0..200).map(|index| format!("/s/f{index:03}")).collect();
    let mut files = vec!["/s/"];
    files.extend(names.iter().map(String::as_str));
    let source = tree(&machine, &files);
    // Directories stand where files 150 to 199 would go.
    let taken: Vec<String> = (150..200)
        .map(|index| format!("/out/f{index:03}/"))
        .collect();
    let mut directories = vec!["/out/"];
    directories.extend(taken.iter().map(String::as_str));
    let below = tree(&machine, &directories);
    for _ in 0..5 {
        let layer = machine.on(&below);
        let error = run(copy("/s", "/out"), &layer, &source.tree()).expect_err("conflict");
        let wanted = "copy /s to /out: cannot replace to directory /out/f150 with file";
        assert_eq!(error.to_string(), wanted);
    }
}

#[test]
fn include_makes_only_the_parents_that_are_needed() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let source = tree(
        &machine,
        &["/s/", "/s/a/", "/s/a/b/", "/s/a/b/x.o", "/s/c/", "/s/c/x.c"],
    );
    let layer = machine.on(&LayerStack::empty());
    let action = CopyAction {
        include: vec!["**/*.o".to_owned()],
        ..copy("/s", "/out")
    };
    run(action, &layer, &source.tree()).expect("copy");
    let copied = layer.tree();
    assert!(exists(&copied, "/out/a/b/x.o"));
    assert!(!exists(&copied, "/out/c"));
    // Directories that are only passed through keep the source's time, whatever was made inside.
    let (from, to) = (find(&source.tree(), "/s/a"), find(&copied, "/out/a"));
    assert_eq!(from.stat().mtime_ns, to.stat().mtime_ns);
}

/// As `docker cp` and `podman cp` did (CVE-2018-15664, CVE-2019-10152, CVE-2019-18466).
#[test]
fn sources_cannot_lead_out_of_the_tree() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    root.symlink(b"up", b"../../../../etc").expect("symlink");
    root.symlink(b"abs", b"/etc").expect("symlink");
    let source = machine.seal(layer).tree();
    let layer = machine.on(&LayerStack::empty());
    for path in [
        "/up",
        "/abs",
        "/up/passwd",
        "/abs/passwd",
        "/../../etc/passwd",
    ] {
        let error = run(copy(path, "/out"), &layer, &source).expect_err(path);
        assert_eq!(
            error.to_string(),
            format!(
                "copy {path} to /out: lstat {}: no such file or directory",
                path.trim_start_matches("/../..")
            )
        );
    }
}

/// As working directories did (CVE-2026-55686, GHSA-q6r4-3wmg-fwcq).
#[test]
fn destinations_cannot_lead_out_of_the_tree() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let source = tree(&machine, &["/f"]);
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    root.symlink(b"up", b"../../escape").expect("symlink");
    run(copy("/f", "/up/x/"), &layer, &source.tree()).expect("copy");
    assert!(exists(&layer.tree(), "/escape/x/f"));
}

#[test]
fn depth_costs_no_stack() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let layer = machine.on(&LayerStack::empty());
    let mut dir = layer.writer().root().expect("root");
    let depth = 200;
    for _ in 0..depth {
        dir = dir.make_dir(b"d", 0o755).expect("d");
    }
    drop(dir.create_file(b"f", 0o644).expect("f"));
    drop(dir);
    let source = machine.seal(layer).tree();
    let layer = machine.on(&LayerStack::empty());
    run(copy("/", "/out/"), &layer, &source).expect("copy");
    let path = format!("/out/{}f", "d/".repeat(depth));
    assert!(exists(&layer.tree(), &path));
}

#[test]
fn wide_directories_need_few_descriptors() {
    let Some(machine) = Machine::new() else {
        return;
    };
    // More directories, some of them nested, than a process may have open files.
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    let mut inner = root.clone();
    for depth in 0..6 {
        for index in 0..400 {
            let name = format!("d{index}");
            drop(inner.make_dir(name.as_bytes(), 0o755).expect("directory"));
        }
        let name = format!("z{depth}");
        inner = inner.make_dir(name.as_bytes(), 0o755).expect("directory");
    }
    drop((inner, root));
    let source = machine.seal(layer).tree();
    let layer = machine.on(&LayerStack::empty());
    run(copy("/", "/out/"), &layer, &source).expect("copy");
    assert!(exists(&layer.tree(), "/out/z0/z1/z2/z3/z4/d399"));
}

#[test]
fn cancelled_in_the_middle() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let source = tree(&machine, &["/s/", "/s/a", "/s/b"]).tree();
    let layer = machine.on(&LayerStack::empty());
    let cancel = CancelToken::new();
    cancel.cancel();
    let done = apply(
        &Action::Copy(copy("/s", "/out")),
        &layer,
        Some(&source),
        &cancel,
    );
    assert!(matches!(done, Err(FileOpError::Cancelled(_))), "{done:?}");
}

#[test]
fn without_a_source_nothing_is_found() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let layer = machine.on(&LayerStack::empty());
    let action = Action::Copy(copy("/a", "/b"));
    let error = apply(&action, &layer, None, &CancelToken::new()).expect_err("no source");
    assert_eq!(
        error.to_string(),
        "copy /a to /b: lstat /a: no such file or directory"
    );
}
