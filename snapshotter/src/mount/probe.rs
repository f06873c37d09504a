//! Does it really work here? Mounts with all that layers rely on.

use std::os::fd::OwnedFd;

use lamina_types::CancelToken;
use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::io::Result;

use super::Mounter;
use crate::ActiveLayer;
use crate::LayerStack;
use crate::MetadataChange;
use crate::Owners;
use crate::SnapshotError;
use crate::SnapshotStore;
use crate::WriteDir;
use crate::fdio;
use crate::xattrs::Target;

/// Why a way of mounting is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    /// What is on disk is not what the image has.
    #[error("this store keeps the owners of files in attributes, which only fuse shows")]
    StoredOwners,
    /// A mount shows, or does, something else than it should.
    #[error("{0}")]
    Wrong(String),
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] SnapshotError),
}

/// Attribute that a merged directory must show.
const ATTRIBUTE: &[u8] = b"user.lamina";

/// Refuses a store whose files are not on disk what they are in the image: for backends that show what
/// is on disk.
pub(super) fn require_real_owners(store: &SnapshotStore) -> std::result::Result<(), ProbeError> {
    match store.owners() {
        Owners::Real => Ok(()),
        Owners::Stored => Err(ProbeError::StoredOwners),
    }
}

/// Mounts two layers and a writable one on them, and checks that deletions, replaced directories and
/// attributes show, and that writes land in the layer. Leaves nothing behind.
pub(super) fn check(
    mounter: &dyn Mounter,
    store: &SnapshotStore,
) -> std::result::Result<(), ProbeError> {
    let stack = make_layers(store)?;
    let checked = check_view(mounter, &stack)
        .and_then(|()| check_writable(mounter, &replacing(store, &stack)?));
    let ours = stack.ids();
    drop(stack);
    if let Err(error) = store.remove(&ours) {
        tracing::warn!(%error, "cannot remove what a probe made");
    }
    checked
}

/// Makes one layer with `file`, `gone` and `dir/{kept,gone}`, and one that deletes both `gone`.
fn make_layers(store: &SnapshotStore) -> std::result::Result<LayerStack, SnapshotError> {
    let lower = layer(store, &LayerStack::empty(), |root| {
        let dir = root.make_dir(b"dir", 0o755)?;
        dir.set_own_metadata(&MetadataChange {
            xattrs: Some([(ATTRIBUTE.to_vec(), b"1".to_vec())].into()),
            ..MetadataChange::default()
        })?;
        for (dir, name) in [
            (root, "file"),
            (root, "gone"),
            (&dir, "kept"),
            (&dir, "gone"),
        ] {
            drop(dir.create_file(name.as_bytes(), 0o644)?);
        }
        Ok(())
    })?;
    layer(store, &lower, |root| {
        root.remove(b"gone")?;
        root.open_dir(b"dir")?.remove(b"gone")
    })
}

fn layer(
    store: &SnapshotStore,
    lower: &LayerStack,
    write: impl FnOnce(&WriteDir) -> std::result::Result<(), SnapshotError>,
) -> std::result::Result<LayerStack, SnapshotError> {
    let active = store.prepare(lower)?;
    write(&active.writer().root()?)?;
    Ok(lower.push(active.commit(&CancelToken::new())?))
}

/// Makes a writable layer in which another directory is in the place of `dir`.
fn replacing(
    store: &SnapshotStore,
    lower: &LayerStack,
) -> std::result::Result<ActiveLayer, SnapshotError> {
    let active = store.prepare(lower)?;
    let root = active.writer().root()?;
    root.remove(b"dir")?;
    root.make_dir(b"dir", 0o755)?;
    Ok(active)
}

fn check_view(mounter: &dyn Mounter, stack: &LayerStack) -> std::result::Result<(), ProbeError> {
    let view = mounter.mount_view(stack)?;
    let seen = || -> Result<[bool; 4]> {
        let dir = fdio::open_dir(&view.fd, b"dir")?;
        let attribute = Target::opened(&dir).get(ATTRIBUTE)?;
        Ok([
            !lists(&view.fd, b"gone")?,
            !lists(&dir, b"gone")?,
            lists(&dir, b"kept")?,
            attribute.as_deref() == Some(b"1"),
        ])
    };
    require(seen(), "a merged view is wrong")?;
    Ok(view.close()?)
}

fn check_writable(
    mounter: &dyn Mounter,
    active: &ActiveLayer,
) -> std::result::Result<(), ProbeError> {
    let mount = mounter.mount_active(active)?;
    let written = || -> Result<[bool; 1]> {
        let replaced = !lists(&fdio::open_dir(&mount.fd, b"dir")?, b"kept")?;
        rustix::fs::mkdirat(&mount.fd, "made", Mode::from_raw_mode(0o755))?;
        rustix::fs::unlinkat(&mount.fd, "file", AtFlags::empty())?;
        Ok([replaced])
    };
    require(written(), "a writable view is wrong")?;
    mount.close()?;
    active.end_mount()?;
    let names = active.tree().root()?.read_dir()?;
    let expected = names == [b"dir".to_vec(), b"made".to_vec()];
    require(Ok([expected]), "what was written is not in the layer")
}

fn lists(dir: &OwnedFd, name: &[u8]) -> Result<bool> {
    let names = fdio::read_names(dir)?;
    Ok(names.iter().any(|raw| raw.name == name))
}

fn require<const N: usize>(
    seen: Result<[bool; N]>,
    otherwise: &str,
) -> std::result::Result<(), ProbeError> {
    match seen {
        Ok(checks) if checks.iter().all(|check| *check) => Ok(()),
        Ok(checks) => Err(ProbeError::Wrong(format!("{otherwise}: checks {checks:?}"))),
        Err(error) => Err(ProbeError::Wrong(format!("{otherwise}: {error}"))),
    }
}
