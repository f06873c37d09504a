//! What makes the mounts of steps, and how users learn of it.

use std::time::SystemTime;

use lamina_snapshotter::Backend;
use lamina_snapshotter::Chosen;
use lamina_snapshotter::SnapshotStore;
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
    let now = Some(SystemTime::now());
    Some(VertexEvent {
        digest: Digest::of(name.as_bytes()),
        inputs: Vec::new(),
        name,
        cached: false,
        started: now,
        completed: now,
        error: None,
        progress_group: None,
    })
}

impl Engine {
    /// Returns what makes the mounts of steps, and why.
    #[must_use]
    pub fn mounts(&self) -> &Chosen {
        &self.0.mounts
    }
}
