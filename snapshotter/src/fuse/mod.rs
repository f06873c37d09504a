//! An overlay file system in user space, for processes where the kernel's cannot be mounted.
#![allow(dead_code)]

use std::sync::Arc;

use crate::ActiveLayer;
use crate::LayerStack;
use crate::SnapshotError;
use crate::store::SnapshotStore;

/// What a FUSE session serves: a stack, and perhaps a writable upper directory on it.
pub(crate) struct OverlayFs(Arc<()>);

impl OverlayFs {
    /// Serves `stack` read-only.
    pub(crate) fn of_view(
        _store: &SnapshotStore,
        _stack: &LayerStack,
    ) -> Result<Self, SnapshotError> {
        Ok(Self(Arc::new(())))
    }

    /// Serves a layer that is being made; `begin_mount` was called. Owns clones of what it needs: the
    /// session may outlive the borrow (until the mount is gone).
    pub(crate) fn of_active(_active: &ActiveLayer) -> Result<Self, SnapshotError> {
        Ok(Self(Arc::new(())))
    }
}

impl fuser::Filesystem for OverlayFs {}
