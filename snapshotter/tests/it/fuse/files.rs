//! Files: copy-up, owners, attributes, special files.

use std::fs;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use lamina_snapshotter::DetachedMount;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::io::Errno;

use super::root;
use super::world;
use crate::support::Fixture;
use crate::support::in_user_namespace;
use crate::support::skipped;
use crate::support::write;

fn one_file(fixture: &Fixture, mode: u32) -> LayerStack {
    fixture.stack(&LayerStack::empty(), |root| {
        write(root, "f", "lower")?;
        let attribute = (b"user.kept".to_vec(), b"value".to_vec());
        let change = MetadataChange {
            mode: Some(mode),
            mtime_ns: Some(1_000_000_000_123_456_789),
            xattrs: Some([attribute].into()),
            ..MetadataChange::default()
        };
        root.set_metadata(b"f", &change)
    })
}

#[test]
fn a_copy_is_the_file_that_it_was() {
    let Some(world) = world("copy-up") else {
        return;
    };
    let lower = one_file(&world.fixture, 0o640);
    world.step(&lower, |mount| {
        let path = root(mount).join("f");
        let before = fs::metadata(&path).unwrap();
        let kept = File::open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(after.ino(), before.ino());
        assert_eq!(after.mode() & 0o7777, 0o600);
        assert_eq!(
            (
                after.mtime(),
                after.mtime_nsec(),
                after.atime(),
                after.size()
            ),
            (
                before.mtime(),
                before.mtime_nsec(),
                before.atime(),
                before.size()
            )
        );
        assert_eq!(xattr::get(&path, "user.kept").unwrap().unwrap(), b"value");
        assert_eq!(std::io::read_to_string(&kept).unwrap(), "lower");
        assert_eq!(kept.metadata().unwrap().ino(), before.ino());
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b" more")
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"lower more");
    });
}

#[test]
fn a_deleted_file_of_a_sealed_layer_never_changes() {
    let Some(world) = world("deleted lower file") else {
        return;
    };
    let lower = one_file(&world.fixture, 0o640);
    world.step(&lower, |mount| {
        let path = root(mount).join("f");
        let kept = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let changed = kept.set_permissions(fs::Permissions::from_mode(0o777));
        assert!(changed.is_err());
        assert_eq!(kept.metadata().unwrap().mode() & 0o7777, 0o640);
    });
    let entry = lower.tree().root().unwrap().child(b"f").unwrap();
    assert_eq!(entry.stat().mode, 0o640);
}

#[test]
fn a_hole_is_punched_and_data_is_copied_in_the_kernel() {
    let Some(world) = world("fallocate and copy_file_range") else {
        return;
    };
    let stack = world.step(&LayerStack::empty(), |mount| {
        let open = |name: &str| {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(true);
            options.open(root(mount).join(name)).unwrap()
        };
        let (from, to) = (open("from"), open("to"));
        from.write_all_at(&[1; 64 << 10], 0).unwrap();
        let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&from, punch, 4096, 8192) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(error) => panic!("{error}"),
        }
        let copied = rustix::fs::copy_file_range(&from, None, &to, None, 64 << 10).unwrap();
        assert_eq!(copied, 64 << 10);
        assert_eq!(
            fs::metadata(root(mount).join("to")).unwrap().size(),
            64 << 10
        );
        rustix::fs::ftruncate(&to, 10).unwrap();
        assert_eq!(fs::read(root(mount).join("to")).unwrap(), [1; 10]);
        // No opcode for it in the library: programs fall back to a name.
        let temporary = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR;
        let made = rustix::fs::open(root(mount), temporary, Mode::from_raw_mode(0o600));
        assert_eq!(made.err(), Some(Errno::OPNOTSUPP));
    });
    assert_eq!(stack.layers().len(), 1);
}

#[test]
fn a_step_may_use_overlays_of_its_own() {
    let Some(world) = world("attributes of overlays") else {
        return;
    };
    let name = format!("{}.overlay.opaque", world.fixture.store.namespace());
    let lower = world.step(&LayerStack::empty(), |mount| {
        let dir = root(mount).join("d");
        fs::create_dir(&dir).unwrap();
        xattr::set(&dir, &name, b"y").unwrap();
    });
    world.step(&lower, |mount| {
        let dir = root(mount).join("d");
        fs::write(dir.join("copies the directory up"), "").unwrap();
        assert_eq!(xattr::get(&dir, &name).unwrap().unwrap(), b"y");
        let listed: Vec<_> = xattr::list(&dir).unwrap().collect();
        assert_eq!(listed, [name.as_str()]);
        let deletion = dir.join("deletion");
        let made = rustix::fs::mknodat(CWD, deletion, FileType::CharacterDevice, Mode::empty(), 0);
        assert_eq!(made, Err(Errno::PERM), "it would be a whiteout");
    });
}

/// Runs `script` as an ordinary user with the root of the mount as `/proc/self/fd/0`.
fn as_user(mount: &DetachedMount, script: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", script]).uid(1000).gid(1000);
    let input = Stdio::from(mount.fd.try_clone().unwrap());
    command.stdin(input).status().unwrap().success()
}

#[test]
fn ordinary_users_own_what_they_make_and_get_no_further() {
    let Some(world) = world("ordinary users") else {
        return;
    };
    if in_user_namespace() {
        return skipped("ordinary users", "fuse: one user only in this namespace");
    }
    let lower = one_file(&world.fixture, 0o4777);
    world.step(&lower, |mount| {
        let root = root(mount);
        fs::create_dir(root.join("shared")).unwrap();
        std::os::unix::fs::chown(root.join("shared"), None, Some(50)).unwrap();
        fs::set_permissions(root.join("shared"), fs::Permissions::from_mode(0o2777)).unwrap();
        assert!(as_user(
            mount,
            "cd /proc/self/fd/0/shared && umask 027 && mkdir d && echo x > f"
        ));
        let owner = |path: &Path| {
            let meta = path.metadata().unwrap();
            (meta.uid(), meta.gid(), meta.mode() & 0o7777)
        };
        assert_eq!(owner(&root.join("shared/d")), (1000, 50, 0o2750));
        assert_eq!(owner(&root.join("shared/f")), (1000, 50, 0o640));
        assert!(!as_user(mount, "touch /proc/self/fd/0/denied 2>/dev/null"));
        assert!(as_user(mount, "echo changed >> /proc/self/fd/0/f"));
        assert_eq!(
            owner(&root.join("f")),
            (0, 0, 0o777),
            "no longer set-user-id"
        );
    });
}

#[test]
fn layers_that_share_an_inode_show_files_with_one_name_each() {
    let Some(world) = world("link counts") else {
        return;
    };
    let from = one_file(&world.fixture, 0o644);
    let entry = from.tree().root().unwrap().child(b"f").unwrap();
    let linked = world.fixture.stack(&LayerStack::empty(), |root| {
        root.link_from(b"copy", &entry)?;
        write(root, "twice", "x")?;
        root.link_from(b"again", &root.lookup(b"twice")?.unwrap())
    });
    let both = [&from, &linked].map(|stack| stack.layers()[0].clone());
    world.step(&LayerStack::new(both), |mount| {
        let count = |name: &str| fs::metadata(root(mount).join(name)).unwrap().nlink();
        assert_eq!(["f", "copy", "twice", "again"].map(count), [1, 1, 2, 2]);
        fs::write(root(mount).join("twice"), "both").unwrap();
        assert_eq!(fs::read(root(mount).join("again")).unwrap(), b"both");
    });
}

/// How often a file is made and removed beside another one.
const REUSES: usize = 3000;

/// Makes a file by `make`, and removes it, again and again.
fn make_and_remove(dir: &Path, make: impl Fn(&Path)) {
    fs::create_dir(dir).unwrap();
    for _ in 0..REUSES {
        let path = dir.join("one");
        make(&path);
        fs::remove_file(&path).unwrap();
    }
}

/// The host gives the inode of a removed file to the next one that is made, in whatever directory.
#[test]
fn a_new_file_is_not_taken_for_one_that_was_just_removed() {
    let Some(world) = world("inodes used again") else {
        return;
    };
    world.step(&LayerStack::empty(), |mount| {
        let root = root(mount);
        let with_data = |path: &Path| {
            let mut file = File::create_new(path).unwrap();
            assert_eq!(file.metadata().unwrap().size(), 0);
            file.write_all(b"some data").unwrap();
            drop(file);
            let found = fs::metadata(path).unwrap();
            assert_eq!((found.size(), found.nlink()), (9, 1));
        };
        let a_link = |path: &Path| {
            std::os::unix::fs::symlink("target", path).unwrap();
            assert_eq!(fs::read_link(path).unwrap(), Path::new("target"));
            assert_eq!(fs::symlink_metadata(path).unwrap().nlink(), 1);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| make_and_remove(&root.join("files"), with_data));
            scope.spawn(|| make_and_remove(&root.join("more files"), with_data));
            scope.spawn(|| make_and_remove(&root.join("links"), a_link));
        });
    });
}
