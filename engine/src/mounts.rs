//! What makes the mounts of steps, and how users learn of it.

use std::path::Path;
use std::time::SystemTime;

use lamina_executor::userns;
use lamina_executor::userns::IdMapping;
use lamina_snapshotter::Backend;
use lamina_snapshotter::Chosen;
use lamina_snapshotter::FuseOverlay;
use lamina_snapshotter::Owners;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::StoreFormat;
use lamina_solver::VertexEvent;
use lamina_types::Digest;

use crate::Engine;
use crate::OpenError;
use crate::SnapshotterKind;

/// Finds what mounts here: what the user named or nothing else, otherwise the best that works.
pub(crate) fn choose(
    kind: SnapshotterKind,
    snapshots: &SnapshotStore,
) -> Result<Chosen, OpenError> {
    let wanted = match kind {
        SnapshotterKind::Auto => None,
        SnapshotterKind::Overlay => Some(Backend::Overlay),
        SnapshotterKind::Fuse => Some(Backend::Fuse),
        SnapshotterKind::Copy => Some(Backend::Copy),
    };
    let chosen = lamina_snapshotter::choose(snapshots, wanted)?;
    if chosen.is_slower() {
        tracing::warn!("steps run on slower mounts: {}", chosen.reason());
    }
    Ok(chosen)
}

/// Returns where a layer store of this user's keeps the owners of files, if it is to be made.
///
/// With a single id, files can have no other owner. Then owners go into attributes, provided that FUSE
/// works here, which alone shows what such files are, and that the user does not want something else by
/// name. `layers` is where the store is or will be; `trial`, on the same file system, is made for a moment.
pub(crate) fn owners(kind: SnapshotterKind, layers: &Path, trial: &Path) -> Owners {
    match (userns::mapping(), kind) {
        (IdMapping::Single, SnapshotterKind::Fuse) => Owners::Stored,
        (IdMapping::Single, SnapshotterKind::Auto) => {
            let exists = layers.join("format").exists();
            match exists || fuse_works(trial) {
                true => Owners::Stored,
                false => Owners::Real,
            }
        }
        _ => Owners::Real,
    }
}

/// Says whether FUSE mounts the layers of a store that keeps owners in attributes.
fn fuse_works(trial: &Path) -> bool {
    let probe = || FuseOverlay::probe(&SnapshotStore::open(trial, StoreFormat::STORED)?);
    let probed = probe();
    if let Err(error) = std::fs::remove_dir_all(trial) {
        tracing::warn!(%error, "the store of a test mount could not be removed");
    }
    match probed {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "images with owners other than root cannot be had: this user has a single id");
            false
        }
    }
}

/// Returns the name by which clients know a backend of that kind (row CTL-04).
pub(crate) fn label(backend: Backend) -> &'static str {
    match backend {
        Backend::Overlay => "overlayfs",
        Backend::Fuse => "fuse-overlayfs",
        Backend::Copy => "native",
    }
}

/// Returns what a build shows first where steps could run faster on another machine.
pub(crate) fn notice(chosen: &Chosen) -> Option<VertexEvent> {
    if !chosen.is_slower() {
        return None;
    }
    let name = format!("[internal] slower mounts: {}", chosen.reason());
    Some(first_line(name))
}

/// Returns something for a build to show before its steps.
pub(crate) fn first_line(name: String) -> VertexEvent {
    let now = Some(SystemTime::now());
    VertexEvent {
        digest: Digest::of(name.as_bytes()),
        inputs: Vec::new(),
        name,
        cached: false,
        started: now,
        completed: now,
        error: None,
        progress_group: None,
    }
}

impl Engine {
    /// Returns what makes the mounts of steps, and why.
    #[must_use]
    pub fn mounts(&self) -> &Chosen {
        &self.0.mounts
    }
}
