//! Random operations that can be carried out through a mount and through [`Upper`].

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::Upper;
use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::RootedPath;
use lamina_types::Stat;

use super::random::Random;

/// One operation; paths are in a universe so small that they often meet.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    MakeDir(String, u32),
    Write(String, String),
    Symlink(String, String),
    Fifo(String),
    Remove(String),
    Replace(String),
    Chmod(String, u32),
    Attribute(String, String),
}

/// Returns `count` random operations.
pub(crate) fn script(random: &mut Random, count: usize) -> Vec<Step> {
    (0..count).map(|_| step(random)).collect()
}

fn any_path(random: &mut Random) -> String {
    let depth = 1 + random.below(3);
    let names: Vec<&str> = (0..depth).map(|_| *random.pick(&["a", "b", "c"])).collect();
    names.join("/")
}

fn step(random: &mut Random) -> Step {
    let path = any_path(random);
    match random.below(20) {
        0..6 => Step::MakeDir(path, *random.pick(&[0o755, 0o700, 0o2775, 0o1777])),
        6..10 => Step::Write(path, format!("text {}", random.below(1000))),
        10 => Step::Symlink(
            path,
            (*random.pick(&["a", "b/c", "nowhere", "."])).to_owned(),
        ),
        11 => Step::Fifo(path),
        12..15 => Step::Remove(path),
        15..17 => Step::Replace(path),
        17 | 18 => Step::Chmod(path, *random.pick(&[0o600, 0o755, 0o4711, 0o711])),
        _ => Step::Attribute(path, format!("value {}", random.below(10))),
    }
}

/// Carries `step` out through the mount at `root`; says whether that worked.
pub(crate) fn run_on_mount(step: &Step, root: &Path) -> bool {
    let result = match step {
        Step::MakeDir(path, mode) => {
            std::fs::create_dir(root.join(path)).and_then(|()| set_mode(&root.join(path), *mode))
        }
        Step::Write(path, text) => std::fs::File::create_new(root.join(path))
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| set_mode(&root.join(path), 0o644)),
        Step::Symlink(path, target) => std::os::unix::fs::symlink(target, root.join(path)),
        Step::Fifo(path) => {
            let mode = rustix::fs::Mode::from_raw_mode(0o640);
            rustix::fs::mkfifoat(rustix::fs::CWD, root.join(path), mode)
                .map_err(Into::into)
                .and_then(|()| set_mode(&root.join(path), 0o640))
        }
        Step::Remove(path) => remove(&root.join(path)),
        Step::Replace(path) => remove(&root.join(path))
            .and_then(|()| std::fs::create_dir(root.join(path)))
            .and_then(|()| set_mode(&root.join(path), 0o755)),
        Step::Chmod(path, mode) => {
            not_a_link(&root.join(path)).and_then(|()| set_mode(&root.join(path), *mode))
        }
        Step::Attribute(path, value) => {
            let path = root.join(path);
            file_or_dir(&path).and_then(|()| xattr::set(&path, "user.lamina", value.as_bytes()))
        }
    };
    result.is_ok()
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.symlink_metadata()?.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    }
}

fn not_a_link(path: &Path) -> std::io::Result<()> {
    match path.symlink_metadata()?.is_symlink() {
        true => Err(std::io::ErrorKind::InvalidInput.into()),
        false => Ok(()),
    }
}

fn file_or_dir(path: &Path) -> std::io::Result<()> {
    let meta = path.symlink_metadata()?;
    match meta.is_dir() || meta.is_file() {
        true => Ok(()),
        false => Err(std::io::ErrorKind::InvalidInput.into()),
    }
}

/// Carries `step` out without a mount; says whether that worked.
pub(crate) fn run_on_upper(step: &Step, upper: &Upper) -> bool {
    try_on_upper(step, upper).is_ok()
}

fn try_on_upper(step: &Step, upper: &Upper) -> Result<(), SnapshotError> {
    let (Step::MakeDir(path, _)
    | Step::Write(path, _)
    | Step::Symlink(path, _)
    | Step::Fifo(path)
    | Step::Remove(path)
    | Step::Replace(path)
    | Step::Chmod(path, _)
    | Step::Attribute(path, _)) = step;
    let path = RootedPath::new(path);
    let dir = upper.dir(&path.parent().unwrap())?;
    let name = path.file_name().unwrap();
    match step {
        Step::MakeDir(_, mode) => dir.make_dir(name, *mode).map(drop),
        Step::Write(_, text) => {
            let mut file = dir.create_file(name, 0o644)?;
            file.write_all(text.as_bytes()).unwrap();
            Ok(())
        }
        Step::Symlink(_, target) => dir.symlink(name, target.as_bytes()),
        Step::Fifo(_) => dir.make_node(name, &fifo()),
        Step::Remove(_) => dir.remove(name),
        Step::Replace(_) => {
            dir.remove(name)?;
            // As a path would be: it may have led through what was just removed.
            let dir = upper.dir(&path.parent().unwrap())?;
            dir.make_dir(name, 0o755).map(drop)
        }
        Step::Chmod(_, mode) => {
            let change = MetadataChange {
                mode: Some(*mode),
                ..MetadataChange::default()
            };
            check_kind(&dir, name, |kind| kind != FileKind::Symlink)?;
            dir.set_metadata(name, &change)
        }
        Step::Attribute(_, value) => {
            let xattrs = [(b"user.lamina".to_vec(), value.as_bytes().to_vec())].into();
            let change = MetadataChange {
                xattrs: Some(xattrs),
                ..MetadataChange::default()
            };
            check_kind(&dir, name, |kind| {
                matches!(kind, FileKind::File | FileKind::Directory)
            })?;
            dir.set_metadata(name, &change)
        }
    }
}

fn check_kind(
    dir: &lamina_snapshotter::WriteDir,
    name: &[u8],
    fits: impl Fn(FileKind) -> bool,
) -> Result<(), SnapshotError> {
    let entry = dir.lookup(name)?;
    match entry.is_some_and(|entry| fits(entry.stat().kind)) {
        true => Ok(()),
        false => Err(SnapshotError::BadName {
            name: String::from_utf8_lossy(name).into_owned(),
        }),
    }
}

fn fifo() -> Stat {
    Stat {
        kind: FileKind::Fifo,
        mode: 0o640,
        uid: 0,
        gid: 0,
        size: 0,
        mtime_ns: 0,
        nlink: 1,
        link_target: Vec::new(),
        device: DeviceNumber::default(),
        xattrs: std::collections::BTreeMap::new(),
    }
}
