//! Directories that merge: renames, inode numbers, listings.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lamina_snapshotter::LayerStack;
use rustix::fs::CWD;
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::root;
use super::world;
use crate::conformance::World;
use crate::support::summary;
use crate::support::write;

/// Two layers that merge in `dir` and `dir/deep`; `dir/one` and `dir/link` are names of one file.
fn merged(world: &World) -> LayerStack {
    let lower = world.step(&LayerStack::empty(), |mount| {
        let root = root(mount);
        fs::create_dir_all(root.join("dir/deep")).unwrap();
        fs::write(root.join("dir/one"), "1").unwrap();
        fs::hard_link(root.join("dir/one"), root.join("dir/link")).unwrap();
        fs::write(root.join("dir/deep/low"), "low").unwrap();
        fs::write(root.join("dir/gone"), "x").unwrap();
    });
    world.step(&lower, |mount| {
        fs::write(root(mount).join("dir/deep/high"), "high").unwrap();
        fs::remove_file(root(mount).join("dir/gone")).unwrap();
    })
}

fn ino(path: &Path) -> u64 {
    path.symlink_metadata().unwrap().ino()
}

#[test]
fn merged_directories_move_with_all_that_they_show() {
    let Some(world) = world("rename of a merged directory") else {
        return;
    };
    let stack = merged(&world);
    let stack = world.step(&stack, |mount| {
        let root = root(mount);
        let paths = ["", "/one", "/link", "/deep", "/deep/low", "/deep/high"];
        let numbers = |dir: &str| paths.map(|path| ino(&root.join(format!("{dir}{path}"))));
        let before = numbers("dir");
        fs::rename(root.join("dir"), root.join("moved")).unwrap();
        assert_eq!(numbers("moved"), before, "files keep their numbers");
        assert!(!root.join("dir").exists());
        fs::write(root.join("moved/one"), "changed").unwrap();
        assert_eq!(fs::read(root.join("moved/link")).unwrap(), b"changed");
        fs::create_dir(root.join("dir")).unwrap();
        assert_eq!(fs::read_dir(root.join("dir")).unwrap().count(), 0);
    });
    assert_eq!(
        summary(&stack.layers()[2]),
        [
            "(/)",
            "/dir",
            "-/dir/deep",
            "-/dir/link",
            "-/dir/one",
            "/moved",
            "/moved/deep",
            "/moved/deep/high",
            "/moved/deep/low",
            "/moved/link",
            "/moved/one=/moved/link",
        ]
    );
}

#[test]
fn what_the_kernel_knows_of_a_moved_tree_stays_usable() {
    let Some(world) = world("open files of a moved tree") else {
        return;
    };
    let stack = merged(&world);
    world.step(&stack, |mount| {
        let root = root(mount);
        let deep = fs::File::open(root.join("dir/deep")).unwrap();
        let low = fs::File::open(root.join("dir/deep/low")).unwrap();
        fs::rename(root.join("dir"), root.join("moved")).unwrap();
        let deep = std::os::fd::OwnedFd::from(deep);
        let inside = crate::support::host_path(&deep);
        fs::write(inside.join("new"), "new").unwrap();
        assert_eq!(fs::read(root.join("moved/deep/new")).unwrap(), b"new");
        assert_eq!(std::io::read_to_string(low).unwrap(), "low");
        fs::remove_dir_all(root.join("moved")).unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    });
}

#[test]
fn two_merged_directories_change_places() {
    let Some(world) = world("exchange of merged directories") else {
        return;
    };
    let lower = world.fixture.stack(&LayerStack::empty(), |root| {
        write(&root.make_dir(b"a", 0o755)?, "in a", "a")?;
        write(&root.make_dir(b"b", 0o755)?, "in b", "b")
    });
    let stack = world.step(&lower, |mount| {
        let (a, b) = (root(mount).join("a"), root(mount).join("b"));
        let numbers = (ino(&a), ino(&b));
        rustix::fs::renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).unwrap();
        assert_eq!((ino(&b), ino(&a)), numbers);
        let whiteout = rustix::fs::renameat_with(CWD, &a, CWD, &b, RenameFlags::WHITEOUT);
        assert_eq!(whiteout, Err(Errno::INVAL));
    });
    assert_eq!(
        summary(&stack.layers()[1]),
        [
            "(/)", "/a", "-/a/in a", "/a/in b", "/b", "/b/in a", "-/b/in b"
        ]
    );
}

#[test]
fn listings_survive_deletions_while_they_are_read() {
    let Some(world) = world("listings") else {
        return;
    };
    const FILES: usize = 3000;
    let lower = world.fixture.stack(&LayerStack::empty(), |root| {
        (0..FILES).try_for_each(|index| write(root, &format!("a name of some length {index}"), ""))
    });
    world.step(&lower, |mount| {
        let root = root(mount);
        let mut seen = BTreeSet::new();
        for entry in fs::read_dir(&root).unwrap() {
            let entry = entry.unwrap();
            assert!(seen.insert(entry.file_name()), "{entry:?} comes twice");
            fs::remove_file(entry.path()).unwrap();
        }
        assert_eq!(seen.len(), FILES);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        fs::write(root.join("new"), "").unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
    });
}

#[test]
fn every_directory_entry_has_the_number_of_its_file() {
    use std::os::unix::fs::DirEntryExt as _;
    let Some(world) = world("numbers in listings") else {
        return;
    };
    let stack = merged(&world);
    world.step(&stack, |mount| {
        let dir = root(mount).join("dir");
        fs::write(dir.join("one"), "copied up").unwrap();
        fs::write(dir.join("deep/new"), "new").unwrap();
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.ino(), ino(&entry.path()), "{entry:?}");
        }
    });
}

#[test]
fn deep_trees_need_no_deep_stack() {
    let Some(world) = world("deep trees") else {
        return;
    };
    const DEPTH: usize = 1500;
    let lower = world.step(&LayerStack::empty(), |mount| {
        let mut dir = mount.fd.try_clone().unwrap();
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&dir, "d", 0o755.into()).unwrap();
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
            dir = rustix::fs::openat(&dir, "d", flags, 0.into()).unwrap();
        }
    });
    let stack = world.step(&lower, |mount| {
        fs::rename(root(mount).join("d"), root(mount).join("e")).unwrap();
    });
    let changes = summary(&stack.layers()[1]);
    assert_eq!(
        changes.len(),
        DEPTH + 2,
        "the root, a deletion, and every directory"
    );
}
