//! Does it really work here? A mount with all that layers rely on.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::io::Result;

use super::kernel::KernelOverlay;
use super::kernel::Plan;
use super::kernel::UpperPlan;
use crate::SnapshotError;
use crate::XattrNamespace;
use crate::fdio;
use crate::remove;
use crate::upper::make_whiteout;
use crate::xattrs::Target;

/// Attribute that a merged directory must show.
const ATTRIBUTE: &[u8] = b"user.lamina";

static FOLDERS: AtomicU64 = AtomicU64::new(0);

/// Mounts two directories and a writable one, and checks that deletions, replaced directories and
/// attributes show, and that writes land in the upper. Leaves nothing behind.
pub(super) fn check(overlay: &KernelOverlay) -> std::result::Result<(), SnapshotError> {
    let store = overlay.store.dir();
    let folder = format!("tmp-probe-{}", FOLDERS.fetch_add(1, Ordering::Relaxed));
    let checked = prepare(store, &folder, overlay.store.namespace())
        .map_err(|error| unavailable(&format!("cannot make layers: {error}")))
        .and_then(|place| check_view(overlay, &folder).map(|()| place))
        .and_then(|place| check_writable(overlay, &folder, &place));
    if let Err(error) = remove::remove_tree(store, folder.as_bytes()) {
        tracing::warn!(%error, "cannot remove what a probe made");
    }
    checked
}

/// Makes `lower` (file, gone, dir/{kept,gone}), `middle` (deletes both `gone`), and `upper` (replaces
/// `dir`).
fn prepare(store: &OwnedFd, folder: &str, namespace: XattrNamespace) -> Result<OwnedFd> {
    let place = make_dir(store, folder)?;
    let lower = make_dir(&place, "lower")?;
    let lower_dir = make_dir(&lower, "dir")?;
    Target::opened(&lower_dir).set(ATTRIBUTE, b"1")?;
    for (dir, name) in [
        (&lower, "file"),
        (&lower, "gone"),
        (&lower_dir, "kept"),
        (&lower_dir, "gone"),
    ] {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644))?;
    }
    let middle = make_dir(&place, "middle")?;
    make_whiteout(&middle, b"gone")?;
    make_whiteout(&make_dir(&middle, "dir")?, b"gone")?;
    Target::opened(&fdio::open_dir(&middle, b"dir")?).set(ATTRIBUTE, b"1")?;
    let upper = make_dir(&place, "upper")?;
    let opaque = make_dir(&upper, "dir")?;
    Target::opened(&opaque).set(namespace.opaque().as_bytes(), b"y")?;
    make_dir(&place, "work")?;
    Ok(place)
}

fn make_dir(parent: &OwnedFd, name: &str) -> Result<OwnedFd> {
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
    fdio::open_dir_readable(parent, name.as_bytes())
}

fn lower_folders(folder: &str) -> Vec<String> {
    vec![format!("{folder}/middle"), format!("{folder}/lower")]
}

fn check_view(overlay: &KernelOverlay, folder: &str) -> std::result::Result<(), SnapshotError> {
    let view = overlay.mount(&Plan {
        lower: lower_folders(folder),
        upper: None,
    })?;
    let seen = || -> Result<[bool; 4]> {
        let dir = fdio::open_dir(&view, b"dir")?;
        let attribute = Target::opened(&dir).get(ATTRIBUTE)?;
        Ok([
            !lists(&view, b"gone")?,
            !lists(&dir, b"gone")?,
            lists(&dir, b"kept")?,
            attribute.as_deref() == Some(b"1"),
        ])
    };
    require(seen(), "a merged view is wrong")
}

fn check_writable(
    overlay: &KernelOverlay,
    folder: &str,
    place: &OwnedFd,
) -> std::result::Result<(), SnapshotError> {
    let mount = overlay.mount(&Plan {
        lower: lower_folders(folder),
        upper: Some(UpperPlan {
            upper: format!("{folder}/upper"),
            work: format!("{folder}/work"),
        }),
    })?;
    let seen = || -> Result<[bool; 3]> {
        let replaced = !lists(&fdio::open_dir(&mount, b"dir")?, b"kept")?;
        rustix::fs::mkdirat(&mount, "made", Mode::from_raw_mode(0o755))?;
        rustix::fs::unlinkat(&mount, "file", AtFlags::empty())?;
        let upper = fdio::open_dir(place, b"upper")?;
        let made = fdio::stat_at(&upper, b"made")?;
        let deleted = fdio::stat_at(&upper, b"file")?;
        Ok([
            replaced,
            made.is_some_and(|raw| raw.is_dir()),
            deleted.is_some_and(|raw| raw.is_whiteout()),
        ])
    };
    require(seen(), "a writable view is wrong")
}

fn lists(dir: &OwnedFd, name: &[u8]) -> Result<bool> {
    let names = fdio::read_names(dir)?;
    Ok(names.iter().any(|raw| raw.name == name))
}

fn require<const N: usize>(
    seen: std::result::Result<[bool; N], Errno>,
    otherwise: &str,
) -> std::result::Result<(), SnapshotError> {
    match seen {
        Ok(checks) if checks.iter().all(|check| *check) => Ok(()),
        Ok(checks) => Err(unavailable(&format!("{otherwise}: checks {checks:?}"))),
        Err(error) => Err(unavailable(&format!("{otherwise}: {error}"))),
    }
}

fn unavailable(reason: &str) -> SnapshotError {
    SnapshotError::Unavailable {
        backend: "overlay",
        reason: reason.to_owned(),
    }
}
