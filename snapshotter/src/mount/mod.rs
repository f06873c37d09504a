//! Mounts of stacks, for running processes.
//!
//! Reading and writing never need a mount; only processes do. Every mount is made *detached*: it is
//! reachable through a descriptor and has no place in any directory until somebody gives it one, so
//! nothing can be left behind.

mod kernel;
mod options;
mod probe;
mod thread;
mod view;

use std::os::fd::OwnedFd;

pub use kernel::KernelOverlay;

use crate::ActiveLayer;
use crate::LayerStack;
use crate::SnapshotError;

/// A file system that is mounted nowhere yet: it goes away with the last descriptor.
///
/// `move_mount(2)` puts it somewhere; `open_tree(2)` with `OPEN_TREE_CLONE` makes another. The layers
/// that it shows must be held (by their stack or active layer) for as long as it is used.
#[derive(Debug)]
#[must_use]
pub struct DetachedMount {
    /// The root of the file system.
    pub fd: OwnedFd,
}

/// Makes mounts of stacks for processes.
pub trait Mounter: Send + Sync {
    /// Makes a read-only view.
    ///
    /// # Errors
    /// What the kernel says, with what was to be mounted.
    fn mount_view(&self, stack: &LayerStack) -> Result<DetachedMount, SnapshotError>;

    /// Makes a writable view; the changes land in the active layer's upper directory. One at a time.
    ///
    /// # Errors
    /// What the kernel says, with what was to be mounted.
    fn mount_active(&self, active: &ActiveLayer) -> Result<DetachedMount, SnapshotError>;

    /// Describes the means as users are shown it: "overlay (trusted xattrs, fsconfig lowerdir+)".
    fn describe(&self) -> String;
}
