//! Stores that keep owners, modes and kinds in attributes: what a user with a single id has.
//!
//! As root, a store of each kind gets the same tree and must tell the same of it. `userns.rs` runs these
//! tests once more where there is a single id, with the digest that root's real files have.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use lamina_snapshotter::Backend;
use lamina_snapshotter::ChangeKind;
use lamina_snapshotter::Follow;
use lamina_snapshotter::KernelOverlay;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::Selection;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::WriteDir;
use lamina_snapshotter::choose;
use lamina_types::CancelToken;
use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::RootedPath;
use lamina_types::Stat;
use rustix::io::Errno;

use crate::support::Fixture;
use crate::support::commit;
use crate::support::host_path;
use crate::support::in_user_namespace;
use crate::support::path;
use crate::support::picture;
use crate::support::picture::without_times;
use crate::support::skipped;
use crate::support::summary;
use crate::support::write;

/// Holds the digest of [`sample`] in a store of real owners.
pub(crate) const DIGEST_BY_ROOT: &str = "LAMINA_TEST_DIGEST_BY_ROOT";

/// `cap_net_raw=ep`, as root of the machine stores it.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

const CAPABILITY_NAME: &[u8] = b"security.capability";

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

fn owned_by(uid: u32, gid: u32) -> MetadataChange {
    MetadataChange {
        owner: Some((uid, gid)),
        ..MetadataChange::default()
    }
}

fn with_mode(mode: u32) -> MetadataChange {
    MetadataChange {
        mode: Some(mode),
        ..MetadataChange::default()
    }
}

fn with_xattr(name: &[u8], value: &[u8]) -> MetadataChange {
    MetadataChange {
        xattrs: Some([(name.to_vec(), value.to_vec())].into()),
        ..MetadataChange::default()
    }
}

fn node(kind: FileKind, mode: u32, major: u32, minor: u32) -> Stat {
    Stat {
        device: DeviceNumber { major, minor },
        ..Stat::new(kind, mode)
    }
}

/// Writes everything that a user cannot really have, and its neighbours.
fn sample(root: &WriteDir) -> Result<(), SnapshotError> {
    programs(&root.make_dir(b"bin", 0o755)?)?;
    let home = root.make_dir(b"home", 0o755)?;
    let me = home.make_dir(b"me", 0o700)?;
    me.set_own_metadata(&owned_by(1000, 1000))?;
    people(&me)?;
    devices(&root.make_dir(b"dev", 0o755)?)?;
    let staff = root.make_dir(b"staff", 0o755)?;
    let change = MetadataChange {
        mode: Some(0o2775),
        ..owned_by(0, 50)
    };
    staff.set_own_metadata(&change)?;
    write(&staff, "made", "of the group")?;
    staff.make_dir(b"sub", 0o755)?;
    staff.symlink(b"link", b"made")?;
    root.make_dir(b"tmp", 0o1777)?;
    Ok(())
}

fn programs(bin: &WriteDir) -> Result<(), SnapshotError> {
    write(bin, "su", "rights")?;
    bin.set_metadata(b"su", &with_mode(0o4755))?;
    write(bin, "ping", "powers")?;
    bin.set_metadata(b"ping", &with_xattr(CAPABILITY_NAME, CAPABILITY))?;
    write(bin, "given", "neither")?;
    bin.set_metadata(b"given", &with_mode(0o6755))?;
    bin.set_metadata(b"given", &with_xattr(CAPABILITY_NAME, CAPABILITY))?;
    bin.set_metadata(b"given", &owned_by(u32::MAX, 7))?;
    bin.symlink(b"sh", b"su")
}

fn people(me: &WriteDir) -> Result<(), SnapshotError> {
    write(me, "note", "mine")?;
    let change = MetadataChange {
        mode: Some(0o640),
        xattrs: Some(
            [
                (b"user.comment".to_vec(), b"seen".to_vec()),
                (b"user.lamina.stat".to_vec(), b"100644 5 5".to_vec()),
                (b"trusted.level".to_vec(), b"high".to_vec()),
            ]
            .into(),
        ),
        ..owned_by(1000, 1000)
    };
    me.set_metadata(b"note", &change)?;
    me.link_from(b"again", &me.lookup(b"note")?.unwrap())?;
    write(me, "sealed", "nobody's")?;
    let change = MetadataChange {
        mode: Some(0),
        ..owned_by(7, u32::MAX - 1)
    };
    me.set_metadata(b"sealed", &change)?;
    me.symlink(b"link", b"../../bin/su")?;
    me.set_metadata(b"link", &owned_by(1000, 1000))
}

fn devices(dev: &WriteDir) -> Result<(), SnapshotError> {
    for (name, stat, owner) in [
        ("null", node(FileKind::CharDevice, 0o666, 1, 3), (0, 0)),
        ("disk", node(FileKind::BlockDevice, 0o660, 8, 300), (0, 6)),
        ("pipe", node(FileKind::Fifo, 0o600, 0, 0), (5, 5)),
        ("socket", node(FileKind::Socket, 0o755, 0, 0), (0, 0)),
    ] {
        dev.make_node(name.as_bytes(), &stat)?;
        if owner != (0, 0) {
            dev.set_metadata(name.as_bytes(), &owned_by(owner.0, owner.1))?;
        }
    }
    dev.link_from(b"zero", &dev.lookup(b"null")?.unwrap())
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

/// Mounts a writable layer on [`sample`], works in it, and returns the stack; `None` without FUSE.
fn step(fixture: &Fixture, test: &str, work: impl FnOnce(&Path)) -> Option<LayerStack> {
    let mounter = match choose(&fixture.store, None) {
        Ok(chosen) => chosen.mounter,
        Err(error) => {
            skipped(test, &format!("fuse: {error}"));
            return None;
        }
    };
    let lower = fixture.stack(&LayerStack::empty(), sample);
    let active = fixture.store.prepare(&lower).unwrap();
    let mount = mounter.mount_active(&active).unwrap();
    work(&host_path(&mount.fd));
    drop(mount);
    Some(lower.push(commit(active)))
}

#[test]
fn a_mount_shows_what_files_are() {
    let fixture = Fixture::stored();
    let shown = |root: &Path| {
        let metadata = |at: &str| root.join(at).symlink_metadata().unwrap();
        // Whom the namespace has no id for is shown as root.
        let owner = |uid, gid| {
            if in_user_namespace() {
                (0, 0)
            } else {
                (uid, gid)
            }
        };
        assert_eq!(metadata("bin/su").mode(), 0o104_755);
        assert_eq!(metadata("home/me").mode(), 0o040_700);
        assert_eq!(metadata("home/me/sealed").mode(), 0o100_000);
        for (at, expected) in [
            ("home/me/note", owner(1000, 1000)),
            ("dev/disk", owner(0, 6)),
        ] {
            assert_eq!((metadata(at).uid(), metadata(at).gid()), expected, "{at}");
        }
        if in_user_namespace() {
            let opened = fs::File::open(root.join("dev/null")).err().unwrap();
            assert_eq!(opened.raw_os_error(), Some(Errno::ACCESS.raw_os_error()));
        }
        let null = metadata("dev/null");
        assert!(null.file_type().is_char_device());
        assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
        assert!(metadata("dev/disk").file_type().is_block_device());
        assert!(metadata("dev/pipe").file_type().is_fifo());
        assert!(metadata("dev/socket").file_type().is_socket());
        assert_eq!(
            fs::read_link(root.join("home/me/link")).unwrap(),
            Path::new("../../bin/su")
        );
        assert_eq!(fs::read(root.join("bin/sh")).unwrap(), b"rights");
        let capability = xattr::get(root.join("bin/ping"), "security.capability").unwrap();
        assert_eq!(capability.unwrap(), CAPABILITY);
        let names: Vec<_> = xattr::list(root.join("home/me/note")).unwrap().collect();
        assert_eq!(names, ["user.comment", "user.lamina.stat"]);
        for entry in fs::read_dir(root.join("dev")).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            assert_eq!(
                kind,
                metadata(&format!("dev/{}", entry.file_name().display())).file_type()
            );
        }
    };
    if let Some(stack) = step(&fixture, "a_mount_shows_what_files_are", shown) {
        assert_eq!(summary(&stack.layers()[1]), ["(/)"]);
    }
}

#[test]
fn a_step_may_change_whatever_it_sees() {
    let fixture = Fixture::stored();
    let change = |root: &Path| {
        let permissions = fs::Permissions::from_mode;
        fs::write(root.join("home/me/note"), "changed").unwrap();
        fs::set_permissions(root.join("home/me/sealed"), permissions(0o640)).unwrap();
        fs::remove_file(root.join("home/me/link")).unwrap();
        fs::rename(root.join("dev/disk"), root.join("home/me/disk")).unwrap();
        std::os::unix::fs::lchown(root.join("dev/pipe"), Some(0), None).unwrap();
        fs::write(root.join("staff/new"), "text").unwrap();
        fs::create_dir(root.join("staff/dir")).unwrap();
        std::os::unix::fs::symlink("target", root.join("tmp/link")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("tmp/pipe"), mode).unwrap();
        fs::write(root.join("bin/new"), "program").unwrap();
        fs::set_permissions(root.join("bin/new"), permissions(0o6755)).unwrap();
        xattr::set(root.join("bin/new"), "security.capability", CAPABILITY).unwrap();
        xattr::set(root.join("bin/new"), "user.lamina.stat", b"mine").unwrap();
    };
    let Some(stack) = step(&fixture, "a_step_may_change_whatever_it_sees", change) else {
        return;
    };
    let inherited = 0o2000;
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    let masked = |mode: u32| mode & !umask.as_raw_mode();
    for (at, kind, mode, owner) in [
        ("/home/me/note", FileKind::File, 0o640, (1000, 1000)),
        ("/home/me/sealed", FileKind::File, 0o640, (7, u32::MAX - 1)),
        ("/home/me/disk", FileKind::BlockDevice, 0o660, (0, 6)),
        ("/dev/pipe", FileKind::Fifo, 0o600, (0, 5)),
        ("/staff/new", FileKind::File, masked(0o666), (0, 50)),
        (
            "/staff/dir",
            FileKind::Directory,
            masked(0o777) | inherited,
            (0, 50),
        ),
        ("/tmp/link", FileKind::Symlink, 0o777, (0, 0)),
        ("/tmp/pipe", FileKind::Fifo, masked(0o644), (0, 0)),
        ("/bin/new", FileKind::File, 0o6755, (0, 0)),
    ] {
        let stat = stat(&stack, at);
        assert_eq!(
            (stat.kind, stat.mode),
            (kind, mode),
            "{at}: {:o}",
            stat.mode
        );
        assert_eq!((stat.uid, stat.gid), owner, "{at}");
    }
    let xattrs = stat(&stack, "/bin/new").xattrs;
    assert_eq!(xattrs[CAPABILITY_NAME], CAPABILITY);
    assert_eq!(xattrs[&b"user.lamina.stat"[..]], b"mine");
    assert_eq!(
        stat(&stack, "/home/me/disk").device,
        DeviceNumber {
            major: 8,
            minor: 300
        }
    );
    assert_eq!(stat(&stack, "/tmp/link").link_target, b"target");
}

#[test]
fn backends_that_show_what_is_on_disk_are_refused() {
    let fixture = Fixture::stored();
    let refused = KernelOverlay::probe(&fixture.store).err().unwrap();
    let reason = "keeps the owners of files in attributes, which only fuse shows";
    assert!(refused.to_string().ends_with(reason), "{refused}");
    for backend in [Backend::Overlay, Backend::Copy] {
        let error = choose(&fixture.store, Some(backend)).unwrap_err();
        assert!(error.to_string().starts_with(backend.name()), "{error}");
        assert!(error.to_string().ends_with(reason), "{error}");
    }
    if let Ok(chosen) = choose(&fixture.store, None) {
        assert_eq!(chosen.backend, Backend::Fuse);
    }
}
