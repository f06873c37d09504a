//! What processes see of a store that keeps owners in attributes, and what they leave there.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lamina_snapshotter::Backend;
use lamina_snapshotter::KernelOverlay;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::choose;
use lamina_types::FileKind;
use rustix::io::Errno;

use super::sample::CAPABILITY;
use super::sample::CAPABILITY_NAME;
use super::sample::sample;
use super::stat;
use crate::support::Fixture;
use crate::support::commit;
use crate::support::host_path;
use crate::support::in_user_namespace;
use crate::support::skipped;
use crate::support::summary;

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
        shows_modes_and_owners(root);
        shows_devices(root);
        shows_targets_and_attributes(root);
    };
    if let Some(stack) = step(&fixture, "a_mount_shows_what_files_are", shown) {
        assert_eq!(summary(&stack.layers()[1]), ["(/)"]);
    }
}

fn metadata(root: &Path, at: &str) -> fs::Metadata {
    root.join(at).symlink_metadata().unwrap()
}

fn shows_modes_and_owners(root: &Path) {
    for (at, mode, owner) in [
        ("bin/su", 0o104_755, (0, 0)),
        ("home/me", 0o040_700, (1000, 1000)),
        ("home/me/note", 0o100_640, (1000, 1000)),
        ("home/me/sealed", 0o100_000, (7, u32::MAX - 1)),
        ("dev/disk", 0o060_660, (0, 6)),
    ] {
        let metadata = metadata(root, at);
        assert_eq!(metadata.mode(), mode, "{at}");
        // Whom the namespace has no id for is shown as root.
        let owner = if in_user_namespace() { (0, 0) } else { owner };
        assert_eq!((metadata.uid(), metadata.gid()), owner, "{at}");
    }
}

fn shows_devices(root: &Path) {
    let kind = |at: &str| metadata(root, at).file_type();
    assert!(kind("dev/null").is_char_device());
    assert!(kind("dev/disk").is_block_device());
    assert!(kind("dev/pipe").is_fifo());
    assert!(kind("dev/socket").is_socket());
    assert_eq!(metadata(root, "dev/null").rdev(), rustix::fs::makedev(1, 3));
    for entry in fs::read_dir(root.join("dev")).unwrap().map(Result::unwrap) {
        let at = format!("dev/{}", entry.file_name().display());
        assert_eq!(entry.file_type().unwrap(), kind(&at), "{at}");
    }
    if in_user_namespace() {
        let opened = fs::File::open(root.join("dev/null")).err().unwrap();
        assert_eq!(opened.raw_os_error(), Some(Errno::ACCESS.raw_os_error()));
    }
}

fn shows_targets_and_attributes(root: &Path) {
    let target = fs::read_link(root.join("home/me/link")).unwrap();
    assert_eq!(target, Path::new("../../bin/su"));
    assert_eq!(fs::read(root.join("bin/sh")).unwrap(), b"rights");
    let capability = xattr::get(root.join("bin/ping"), "security.capability").unwrap();
    assert_eq!(capability.unwrap(), CAPABILITY);
    let names: Vec<_> = xattr::list(root.join("home/me/note")).unwrap().collect();
    assert_eq!(names, ["user.comment", "user.lamina.stat"]);
}

#[test]
fn a_step_may_change_whatever_it_sees() {
    let fixture = Fixture::stored();
    let changed = step(&fixture, "a_step_may_change_whatever_it_sees", |root| {
        change_old(root);
        make_new(root);
    });
    let Some(stack) = changed else { return };
    check_old(&stack);
    check_new(&stack);
}

fn change_old(root: &Path) {
    fs::write(root.join("home/me/note"), "changed").unwrap();
    let permissions = fs::Permissions::from_mode(0o640);
    fs::set_permissions(root.join("home/me/sealed"), permissions).unwrap();
    fs::remove_file(root.join("home/me/link")).unwrap();
    fs::rename(root.join("dev/disk"), root.join("home/me/disk")).unwrap();
    std::os::unix::fs::lchown(root.join("dev/pipe"), Some(0), None).unwrap();
}

fn make_new(root: &Path) {
    fs::write(root.join("staff/new"), "text").unwrap();
    fs::create_dir(root.join("staff/dir")).unwrap();
    std::os::unix::fs::symlink("target", root.join("tmp/link")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("tmp/pipe"), mode).unwrap();
    fs::write(root.join("bin/new"), "program").unwrap();
    let permissions = fs::Permissions::from_mode(0o6755);
    fs::set_permissions(root.join("bin/new"), permissions).unwrap();
    xattr::set(root.join("bin/new"), "security.capability", CAPABILITY).unwrap();
    xattr::set(root.join("bin/new"), "user.lamina.stat", b"mine").unwrap();
}

/// Where a file is, its kind, mode and owner.
type Row = (&'static str, FileKind, u32, (u32, u32));

fn check(stack: &LayerStack, rows: &[Row]) {
    for &(at, kind, mode, owner) in rows {
        let stat = stat(stack, at);
        assert_eq!(
            (stat.kind, stat.mode),
            (kind, mode),
            "{at}: {:o}",
            stat.mode
        );
        assert_eq!((stat.uid, stat.gid), owner, "{at}");
    }
}

fn check_old(stack: &LayerStack) {
    let rows = [
        ("/home/me/note", FileKind::File, 0o640, (1000, 1000)),
        ("/home/me/sealed", FileKind::File, 0o640, (7, u32::MAX - 1)),
        ("/home/me/disk", FileKind::BlockDevice, 0o660, (0, 6)),
        ("/dev/pipe", FileKind::Fifo, 0o600, (0, 5)),
    ];
    check(stack, &rows);
    let device = stat(stack, "/home/me/disk").device;
    assert_eq!((device.major, device.minor), (8, 300));
}

fn check_new(stack: &LayerStack) {
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    let masked = |mode: u32| mode & !umask.as_raw_mode();
    let rows = [
        ("/staff/new", FileKind::File, masked(0o666), (0, 50)),
        (
            "/staff/dir",
            FileKind::Directory,
            masked(0o777) | 0o2000,
            (0, 50),
        ),
        ("/tmp/link", FileKind::Symlink, 0o777, (0, 0)),
        ("/tmp/pipe", FileKind::Fifo, masked(0o644), (0, 0)),
        ("/bin/new", FileKind::File, 0o6755, (0, 0)),
    ];
    check(stack, &rows);
    assert_eq!(stat(stack, "/tmp/link").link_target, b"target");
    let xattrs = stat(stack, "/bin/new").xattrs;
    assert_eq!(xattrs[CAPABILITY_NAME], CAPABILITY);
    assert_eq!(xattrs[&b"user.lamina.stat"[..]], b"mine");
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
