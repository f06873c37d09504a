//! Stores that keep owners, modes and kinds in attributes: what a user with a single id has.
//!
//! As root, a store of each kind gets the same tree and must tell the same of it. `userns.rs` runs these
//! tests once more where there is a single id, with the digest that root's real files have.

mod mounts;
mod sample;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use lamina_snapshotter::ChangeKind;
use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::Selection;
use lamina_snapshotter::SnapshotError;
use lamina_types::CancelToken;
use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::RootedPath;
use lamina_types::Stat;
use rustix::io::Errno;

use self::sample::CAPABILITY;
use self::sample::CAPABILITY_NAME;
use self::sample::node;
use self::sample::owned_by;
use self::sample::sample;
use self::sample::with_mode;
use self::sample::with_xattr;
use crate::support::Fixture;
use crate::support::in_user_namespace;
use crate::support::path;
use crate::support::picture;
use crate::support::picture::without_times;
use crate::support::summary;
use crate::support::write;

/// Holds the digest of [`sample`] in a store of real owners.
pub(crate) const DIGEST_BY_ROOT: &str = "LAMINA_TEST_DIGEST_BY_ROOT";

/// Returns the digest of [`sample`] as root has it; `None` for others.
pub(crate) fn digest_by_root() -> Option<String> {
    let is_root = rustix::process::geteuid().is_root() && !in_user_namespace();
    is_root.then(|| digest(&Fixture::new().stack(&LayerStack::empty(), sample)))
}

fn digest(stack: &LayerStack) -> String {
    let whole = Selection::of_path("/");
    stack
        .digest(&whole, &CancelToken::new())
        .unwrap()
        .to_string()
}

fn stat(stack: &LayerStack, at: &str) -> Stat {
    let entry = stack.tree().lookup(&path(at), Follow::Parents).unwrap();
    entry.stat().clone()
}

/// Returns all that a layer says, times aside.
fn told(stack: &LayerStack) -> Vec<(RootedPath, Stat)> {
    let layer = stack.layers().last().unwrap();
    let changes = layer.changes().unwrap().map(Result::unwrap);
    let stats = changes.filter_map(|change| match change.kind {
        ChangeKind::Entry { stat, .. } | ChangeKind::HardLink { stat, .. } => Some((
            change.path,
            Stat {
                mtime_ns: 0,
                ..stat
            },
        )),
        ChangeKind::Whiteout => None,
    });
    stats.collect()
}

#[test]
fn a_tree_is_the_same_whoever_keeps_it() {
    let stored = Fixture::stored();
    let ours = stored.stack(&LayerStack::empty(), sample);
    if let Ok(expected) = std::env::var(DIGEST_BY_ROOT) {
        assert_eq!(digest(&ours), expected);
    }
    if in_user_namespace() || !rustix::process::geteuid().is_root() {
        return;
    }
    let real = Fixture::new();
    let theirs = real.stack(&LayerStack::empty(), sample);
    assert_eq!(told(&ours), told(&theirs));
    assert_eq!(digest(&ours), digest(&theirs));
    assert_eq!(summary(&ours.layers()[0]), summary(&theirs.layers()[0]));
    let pictures = [&ours, &theirs].map(|stack| without_times(picture::of_tree(&stack.tree())));
    assert_eq!(pictures[0], pictures[1]);
}

#[test]
fn what_is_told_is_what_was_said() {
    let fixture = Fixture::stored();
    let stack = fixture.stack(&LayerStack::empty(), sample);
    for (at, kind, mode, owner) in [
        ("/bin/su", FileKind::File, 0o4755, (0, 0)),
        ("/bin/given", FileKind::File, 0o755, (0, 7)),
        ("/bin/sh", FileKind::Symlink, 0o777, (0, 0)),
        ("/home/me", FileKind::Directory, 0o700, (1000, 1000)),
        ("/home/me/note", FileKind::File, 0o640, (1000, 1000)),
        ("/home/me/sealed", FileKind::File, 0, (7, u32::MAX - 1)),
        ("/home/me/link", FileKind::Symlink, 0o777, (1000, 1000)),
        ("/dev/null", FileKind::CharDevice, 0o666, (0, 0)),
        ("/dev/disk", FileKind::BlockDevice, 0o660, (0, 6)),
        ("/dev/pipe", FileKind::Fifo, 0o600, (5, 5)),
        ("/dev/socket", FileKind::Socket, 0o755, (0, 0)),
        ("/staff", FileKind::Directory, 0o2775, (0, 50)),
        ("/staff/made", FileKind::File, 0o644, (0, 50)),
        ("/staff/sub", FileKind::Directory, 0o755, (0, 50)),
        ("/staff/link", FileKind::Symlink, 0o777, (0, 50)),
        ("/tmp", FileKind::Directory, 0o1777, (0, 0)),
    ] {
        let stat = stat(&stack, at);
        assert_eq!((stat.kind, stat.mode), (kind, mode), "{at}");
        assert_eq!((stat.uid, stat.gid), owner, "{at}");
    }
    assert_eq!(
        stat(&stack, "/dev/zero").device,
        DeviceNumber { major: 1, minor: 3 }
    );
    assert_eq!(stat(&stack, "/home/me/link").link_target, b"../../bin/su");
    assert_eq!(stat(&stack, "/home/me/link").size, 12);
    assert_eq!(stat(&stack, "/dev/pipe").size, 0);
    assert_eq!(
        stat(&stack, "/bin/ping").xattrs[CAPABILITY_NAME],
        CAPABILITY
    );
    assert!(stat(&stack, "/bin/given").xattrs.is_empty());
    let names: Vec<Vec<u8>> = stat(&stack, "/home/me/note").xattrs.into_keys().collect();
    let expected: [&[u8]; 3] = [b"trusted.level", b"user.comment", b"user.lamina.stat"];
    assert_eq!(names, expected);
}

#[test]
fn files_on_disk_are_the_users_own() {
    let fixture = Fixture::stored();
    let stack = fixture.stack(&LayerStack::empty(), sample);
    let fs = layer_dir(&fixture, &stack);
    for (at, mode, record) in [
        ("bin/su", 0o100_755, Some("104755 0 0")),
        ("bin/ping", 0o100_644, None),
        ("bin/sh", 0o100_600, Some("120777 0 0")),
        ("home", 0o040_755, None),
        ("home/me", 0o040_700, Some("40700 1000 1000")),
        ("home/me/sealed", 0o100_600, Some("100000 7 4294967294")),
        ("dev/null", 0o100_600, Some("20666 0 0 1 3")),
        ("dev/disk", 0o100_600, Some("60660 0 6 8 300")),
        ("dev/pipe", 0o100_600, Some("10600 5 5")),
        ("staff", 0o040_775, Some("42775 0 50")),
        ("tmp", 0o040_777, Some("41777 0 0")),
    ] {
        let (file, record) = (fs.join(at), record.map(|text| text.as_bytes().to_vec()));
        let metadata = file.symlink_metadata().unwrap();
        assert_eq!(metadata.mode(), mode, "{at}: {:o}", metadata.mode());
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{at}");
        assert_eq!(
            xattr::get(&file, "user.lamina.stat").unwrap(),
            record,
            "{at}"
        );
    }
    let kept = "user.lamina.xattr.security.capability";
    assert_eq!(
        xattr::get(fs.join("bin/ping"), kept).unwrap().unwrap(),
        CAPABILITY
    );
    assert_eq!(fs::read(fs.join("bin/sh")).unwrap(), b"su");
}

/// Returns where the only layer of `stack` is on disk.
fn layer_dir(fixture: &Fixture, stack: &LayerStack) -> PathBuf {
    let id = stack.layers()[0].id().to_string();
    fixture.layers().join(id).join("fs")
}

#[test]
fn nothing_is_left_of_what_was_taken_back() {
    let fixture = Fixture::stored();
    let stack = fixture.stack(&LayerStack::empty(), |root| {
        write(root, "f", "text")?;
        root.set_metadata(b"f", &owned_by(5, 5))?;
        root.set_metadata(b"f", &with_xattr(b"trusted.x", b"1"))?;
        let back = MetadataChange {
            mode: Some(0o644),
            xattrs: Some([].into()),
            ..owned_by(0, 0)
        };
        root.set_metadata(b"f", &back)
    });
    let file = layer_dir(&fixture, &stack).join("f");
    let left: Vec<_> = xattr::list(&file).unwrap().collect();
    let ours = left
        .iter()
        .filter(|name| name.to_string_lossy().starts_with("user."));
    assert_eq!(ours.count(), 0, "{left:?}");
}

#[test]
fn what_the_kernel_refuses_is_refused() {
    let fixture = Fixture::stored();
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    let root = active.writer().root().unwrap();
    let refused = |result: Result<(), SnapshotError>| result.unwrap_err().errno().unwrap();
    let empty = refused(root.symlink(b"link", b""));
    assert_eq!(empty, Errno::NOENT.raw_os_error());
    let long = refused(root.symlink(b"link", &[b'a'; 4096]));
    assert_eq!(long, Errno::NAMETOOLONG.raw_os_error());
    root.symlink(b"link", &[b'a'; 4095]).unwrap();
    assert_eq!(root.lookup(b"link").unwrap().unwrap().stat().size, 4095);
    let whiteout = refused(root.make_node(b"node", &node(FileKind::CharDevice, 0o600, 0, 0)));
    assert_eq!(whiteout, Errno::INVAL.raw_os_error());
    let user = refused(root.set_metadata(b"link", &with_xattr(b"user.x", b"1")));
    assert_eq!(user, Errno::PERM.raw_os_error());
    root.set_metadata(b"link", &with_xattr(b"trusted.x", b"1"))
        .unwrap();
    let opened = root.lookup(b"link").unwrap().unwrap().open();
    assert!(
        matches!(opened, Err(SnapshotError::NotRegular { .. })),
        "{opened:?}"
    );
}

#[test]
fn a_store_of_real_owners_says_which_one_nobody_has() {
    if !in_user_namespace() {
        return;
    }
    let fixture = Fixture::new();
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    let root = active.writer().root().unwrap();
    write(&root, "f", "text").unwrap();
    let error = root.set_metadata(b"f", &owned_by(5, 6)).unwrap_err();
    let expected = "/f: this user has no id that stands for owner 5:6";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert_eq!(error.errno(), Some(Errno::INVAL.raw_os_error()));
}

#[test]
fn a_damaged_record_is_an_error_and_no_guess() {
    let fixture = Fixture::stored();
    let stack = fixture.stack(&LayerStack::empty(), |root| {
        root.make_dir(b"d", 0o755)?;
        write(root, "f", "text")
    });
    let fs = layer_dir(&fixture, &stack);
    for (at, record) in [
        ("f", "what"),
        ("f", "40755 0 0"),
        ("d", "100644 0 0"),
        ("f", ""),
    ] {
        xattr::set(fs.join(at), "user.lamina.stat", record.as_bytes()).unwrap();
        let found = stack.tree().lookup(&path(at), Follow::Parents);
        let number = found.err().and_then(|error| error.errno());
        assert_eq!(number, Some(Errno::IO.raw_os_error()), "{at}: {record}");
        xattr::remove(fs.join(at), "user.lamina.stat").unwrap();
    }
}

#[test]
fn copies_differences_and_merges_keep_owners() {
    let fixture = Fixture::stored();
    let lower = fixture.stack(&LayerStack::empty(), sample);
    let stack = fixture.stack(&lower, |root| {
        let me = root.open_dir(b"home")?.open_dir(b"me")?;
        write(&me, "new", "text")?;
        me.set_metadata(b"note", &with_mode(0o600))?;
        root.open_dir(b"dev")?
            .set_metadata(b"disk", &with_mode(0o600))
    });
    let layer = &stack.layers()[1];
    assert_eq!(
        summary(layer),
        [
            "(/)",
            "(/dev)",
            "/dev/disk",
            "(/home)",
            "(/home/me)",
            "/home/me/new",
            "/home/me/note"
        ]
    );
    for (at, mode, owner) in [
        ("/home/me", 0o700, (1000, 1000)),
        ("/home/me/note", 0o600, (1000, 1000)),
        ("/dev/disk", 0o600, (0, 6)),
    ] {
        let stat = stat(&stack, at);
        assert_eq!((stat.mode, (stat.uid, stat.gid)), (mode, owner), "{at}");
    }
    let cancel = CancelToken::new();
    let other = fixture.stack(&LayerStack::empty(), sample);
    let difference = fixture.store.diff(&other, &stack, &cancel).unwrap();
    let merged = fixture.store.merge(&[other, difference], &cancel).unwrap();
    assert_eq!(digest(&merged), digest(&stack));
}
