//! Copies share inodes with sealed layers, and nobody can see it: not in a step, not in an export.
//!
//! Every stack here was made by copies of one source, in the ways that could bring two names of one
//! inode together: the same file twice, copies on top of their source, copies of copies, merges of all
//! of these. `/s/h1` and `/s/h2` are hard links that the user made, so only they may show as one file,
//! within each copy. On kernel overlay and FUSE.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::apply;
use lamina_snapshotter::Backend;
use lamina_snapshotter::DetachedMount;
use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Mounter;
use lamina_types::CancelToken;
use lamina_types::RootedPath;

use crate::machine::Machine;
use crate::machine::skip;
use crate::rows::rows;

/// What files hold, by path.
type Contents = BTreeMap<PathBuf, Vec<u8>>;

fn source(machine: &Machine) -> LayerStack {
    use std::io::Write;
    let layer = machine.on(&LayerStack::empty());
    let dir = layer.writer().root().expect("root");
    let dir = dir.make_dir(b"s", 0o755).expect("/s");
    for name in ["a", "b", "h1"] {
        let mut file = dir.create_file(name.as_bytes(), 0o644).expect(name);
        file.write_all(name.as_bytes()).expect(name);
    }
    let tree = layer.tree();
    let first = tree.lookup(&RootedPath::new("/s/h1"), Follow::Parents);
    dir.link_from(b"h2", &first.expect("/s/h1")).expect("/s/h2");
    drop(dir);
    machine.seal(layer)
}

/// Puts copies of `from` on top of `lower`, one action after the other in one layer.
fn copied(
    machine: &Machine,
    lower: &LayerStack,
    from: &LayerStack,
    copies: &[(&str, &str)],
) -> LayerStack {
    let layer = machine.on(lower);
    for (source, destination) in copies {
        let action = Action::Copy(CopyAction {
            source: (*source).into(),
            destination: (*destination).into(),
            create_parents: true,
            ..CopyAction::default()
        });
        apply(&action, &layer, Some(&from.tree()), &CancelToken::new()).expect("copy");
    }
    machine.seal(layer)
}

pub(crate) fn stacks(machine: &Machine) -> Vec<(&'static str, LayerStack)> {
    let (empty, from) = (LayerStack::empty(), source(machine));
    let one = copied(machine, &empty, &from, &[("/s", "/one")]);
    let merge = |stacks: &[&LayerStack]| {
        let stacks: Vec<LayerStack> = stacks.iter().map(|stack| (*stack).clone()).collect();
        let merged = machine.store.merge(&stacks, &CancelToken::new());
        merged.expect("merged")
    };
    let two = copied(machine, &empty, &from, &[("/s", "/two")]);
    let of_copy = copied(machine, &empty, &one, &[("/one", "/three")]);
    let twice = copied(
        machine,
        &empty,
        &from,
        &[("/s", "/x"), ("/s", "/y"), ("/s/a", "/z")],
    );
    vec![
        ("twice in one layer", twice.clone()),
        (
            "on its source",
            copied(machine, &from, &from, &[("/s", "/new")]),
        ),
        ("on a copy", copied(machine, &one, &from, &[("/s", "/new")])),
        (
            "a copy of a copy on both",
            copied(machine, &merge(&[&from, &one]), &one, &[("/one", "/new")]),
        ),
        ("a copy merged with its source", merge(&[&from, &one])),
        ("two copies merged", merge(&[&one, &two])),
        ("copies of copies merged", merge(&[&from, &one, &of_copy])),
        (
            "everything merged",
            merge(&[&twice, &of_copy, &two, &one, &from]),
        ),
    ]
}

fn each_mounter(machine: &Machine, check: impl Fn(&Arc<dyn Mounter>, &str, &LayerStack)) {
    let stacks = stacks(machine);
    for backend in [Backend::Overlay, Backend::Fuse] {
        let chosen = match lamina_snapshotter::choose(&machine.store, Some(backend)) {
            Ok(chosen) => chosen,
            Err(error) => {
                skip::<()>(&error.to_string());
                continue;
            }
        };
        for (name, stack) in &stacks {
            check(&chosen.mounter, &format!("{backend}: {name}"), stack);
        }
    }
}

/// The path of a mount, for this process and its children alike.
fn root(mount: &DetachedMount) -> PathBuf {
    let (process, number) = (std::process::id(), mount.fd.as_raw_fd());
    PathBuf::from(format!("/proc/{process}/fd/{number}"))
}

fn files_below(root: &Path) -> Vec<PathBuf> {
    let (mut files, mut dirs) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(dir) = dirs.pop() {
        for child in root.join(&dir).read_dir().expect("a directory") {
            let child = child.expect("a name");
            let path = dir.join(child.file_name());
            match child.file_type().expect("a kind").is_dir() {
                true => dirs.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    files
}

fn contents(root: &Path) -> Contents {
    let files = files_below(root).into_iter();
    files
        .map(|path| (path.clone(), std::fs::read(root.join(&path)).expect("data")))
        .collect()
}

/// Checks that only the user's hard links are the same file: `h1` and `h2` of one directory.
fn assert_unshared(root: &Path, which: &str) {
    let mut names: BTreeMap<(u64, u64), BTreeSet<PathBuf>> = BTreeMap::new();
    for path in files_below(root) {
        let meta = root.join(&path).symlink_metadata().expect("metadata");
        names
            .entry((meta.dev(), meta.ino()))
            .or_default()
            .insert(path);
    }
    for names in names.values().filter(|names| names.len() > 1) {
        let first = names.first().expect("a name");
        let user = [first.with_file_name("h1"), first.with_file_name("h2")];
        assert_eq!(*names, BTreeSet::from(user), "{which}");
    }
}

#[test]
fn no_view_shows_two_names_of_one_inode() {
    let Some(machine) = Machine::new() else {
        return;
    };
    each_mounter(&machine, |mounter, which, stack| {
        let view = mounter.mount_view(stack).expect("a view");
        assert_unshared(&root(&view), which);
    });
}

#[test]
fn programs_that_keep_hard_links_make_separate_files() {
    let Some(machine) = Machine::new() else {
        return;
    };
    each_mounter(&machine, |mounter, which, stack| {
        let layer = machine.on(stack);
        let mount = mounter.mount_active(&layer).expect("a mount");
        let root = root(&mount);
        let before = contents(&root);
        for command in ["cp -a $1/. $0", "tar cf - -C $1 . | tar xf - -C $0"] {
            let target = tempfile::tempdir().expect("a directory");
            let status = Command::new("sh")
                .args(["-c", command])
                .arg(target.path())
                .arg(&root)
                .status();
            assert!(status.expect("sh runs").success(), "{which}: {command}");
            assert_eq!(contents(target.path()), before, "{which}: {command}");
            assert_unshared(target.path(), &format!("{which}: {command}"));
        }
        drop(mount);
        layer.end_mount().expect("ended");
    });
}

#[test]
fn writing_through_any_name_changes_no_other() {
    let Some(machine) = Machine::new() else {
        return;
    };
    each_mounter(&machine, |mounter, which, stack| {
        let sealed = rows(&stack.tree());
        let layer = machine.on(stack);
        let mount = mounter.mount_active(&layer).expect("a mount");
        let root = root(&mount);
        let mut expected = contents(&root);
        for path in files_below(&root) {
            let text = format!("written through {}", path.display()).into_bytes();
            std::fs::write(root.join(&path), &text).expect("written");
            let is_link = path
                .file_name()
                .is_some_and(|name| name == "h1" || name == "h2");
            if is_link {
                // Both are one file, or have come apart by the first write on a kernel's overlay.
                for name in ["h1", "h2"] {
                    let both = path.with_file_name(name);
                    let now = std::fs::read(root.join(&both)).expect("data");
                    assert!(now == text || now == expected[&both], "{which}");
                    expected.insert(both, now);
                }
            }
            expected.insert(path, text);
            assert_eq!(contents(&root), expected, "{which}");
        }
        drop(mount);
        layer.end_mount().expect("ended");
        assert_eq!(
            rows(&stack.tree()),
            sealed,
            "{which}: a sealed layer changed"
        );
    });
}
