//! Mounts of stacks, for running processes.
//!
//! Reading and writing never need a mount; only processes do. Every mount is made *detached*: it is
//! reachable through a descriptor and has no place in any directory until somebody gives it one, so
//! nothing can be left behind.
//!
//! There are three ways to make one, all behind [`Mounter`], all on the same layers:
//!
//! | backend | who carries out what processes do | needs |
//! |---|---|---|
//! | [`KernelOverlay`] | the kernel's overlayfs | root, or a user namespace on Linux 5.11 or later |
//! | [`FuseOverlay`] | threads of this process | `/dev/fuse` |
//! | [`CopyTree`] | the kernel, on a copy that is compared afterwards | nothing but bind mounts |
//!
//! Where owners are stored ([`crate::Owners::Stored`]), only FUSE shows what the image has; the others
//! refuse. [`choose`] tries them. The life of a writable mount:
//!
//! 1. [`Mounter::mount_active`] makes it; processes use it.
//! 2. They end, and the last descriptor of the mount is closed.
//! 3. [`ActiveLayer::end_mount`] takes over what they wrote. From then on the layer's tree and writer
//!    may be used again. Committing does this too.

mod absorb;
mod bind;
mod choose;
mod copy;
mod flatten;
mod fuse;
mod kernel;
mod options;
mod probe;
mod session;
mod thread;
mod view;

use std::os::fd::OwnedFd;

pub use choose::Backend;
pub use choose::Chosen;
pub use choose::Refusal;
pub use choose::choose;
pub use copy::CopyTree;
pub use fuse::FuseOverlay;
pub use kernel::KernelOverlay;

use crate::ActiveLayer;
use crate::LayerStack;
use crate::SnapshotError;
use fuse::Served;
use session::Session;

/// A file system that is mounted nowhere yet: it goes away with the last descriptor.
///
/// `move_mount(2)` puts it somewhere; `open_tree(2)` with `OPEN_TREE_CLONE` makes another. The layers
/// that it shows must be held (by their stack or active layer) for as long as it is used, and so
/// must `backing`.
#[derive(Debug)]
#[must_use]
pub struct DetachedMount {
    /// The root of the file system.
    pub fd: OwnedFd,
    /// What else the mount needs; to be dropped after the last use of the mount.
    pub backing: Backing,
}

impl DetachedMount {
    /// A mount that needs nothing but its layers.
    fn of(fd: OwnedFd) -> Self {
        let backing = Backing(Inner::Layers);
        Self { fd, backing }
    }

    /// Closes the mount and waits until nothing serves it any more.
    fn close(self) -> Result<(), SnapshotError> {
        drop(self.fd);
        match self.backing.0 {
            Inner::Session(session) => session.wait(),
            Inner::Layers | Inner::Scratch(_) => Ok(()),
        }
    }
}

/// What a mount needs besides the layers that it shows.
#[derive(Debug)]
pub struct Backing(Inner);

#[derive(Debug)]
enum Inner {
    Layers,
    /// It holds the layers itself, and ends after the mount.
    Session(Session),
    /// The files that the mount shows; deleted when dropped.
    Scratch(#[expect(dead_code, reason = "held for its files")] Box<ActiveLayer>),
}

/// What turns the use of a writable mount into content of its layer, once the mount is gone.
#[derive(Debug)]
pub(crate) enum MountEnd {
    /// Threads write to the layer until the mount is gone.
    Served(Served),
    /// What was written is here.
    Scratch(Box<ActiveLayer>),
}

impl MountEnd {
    /// Makes the layer hold what was written through its mount.
    ///
    /// # Errors
    /// [`SnapshotError::MountInUse`]; I/O errors. It may be tried again.
    pub(crate) fn take_over(&self, layer: &ActiveLayer) -> Result<(), SnapshotError> {
        match self {
            Self::Served(served) => served.end(),
            Self::Scratch(scratch) => absorb::absorb(scratch, layer),
        }
    }
}

impl Drop for MountEnd {
    /// A layer that is given up is deleted next, so its last writes should be over.
    fn drop(&mut self) {
        if let Self::Served(served) = self {
            served.give_up();
        }
    }
}

/// Makes mounts of stacks for processes.
pub trait Mounter: Send + Sync {
    /// Makes a read-only view.
    ///
    /// # Errors
    /// What the kernel says, with what was to be mounted.
    fn mount_view(&self, stack: &LayerStack) -> Result<DetachedMount, SnapshotError>;

    /// Makes a writable view; what is written is in the active layer after
    /// [`ActiveLayer::end_mount`]. One at a time.
    ///
    /// # Errors
    /// What the kernel says, with what was to be mounted; [`SnapshotError::MountInUse`] if an earlier
    /// mount of the layer is.
    fn mount_active(&self, active: &ActiveLayer) -> Result<DetachedMount, SnapshotError>;

    /// Describes the means as users are shown it: "overlay (trusted xattrs, fsconfig lowerdir+)".
    fn describe(&self) -> String;
}
