//! An overlay file system in user space, for processes where the kernel's cannot be mounted.
//!
//! It serves what [`crate::LayerStack`]s and active layers mean, by the look-up rules of
//! `tree` and by the copy-up and whiteouts of `upper`. What it leaves in an upper directory
//! is what the kernel's overlay would have left there, so sealing, and the next mount by whatever
//! means, cannot tell the difference.
//!
//! The parts, from the kernel inwards:
//!
//! | module | what it does |
//! |---|---|
//! | `session` | turns requests into calls and results into replies; a panic is `EIO` for one request |
//! | `names`, `rename`, `attr`, `xattr`, `acl`, `open`, `dir` | what requests ask for, one family each |
//! | `copy_up`, `copy_tree` | bring files and whole directories into the upper |
//! | `times` | sees to modification times where the kernel gathers writes |
//! | `overlay` | the view: finds nodes and where they are kept |
//! | `table`, `node`, `numbers` | what the kernel holds, by inode number |
//!
//! Nobody else changes the tree while it is mounted, so the kernel may keep names, attributes, links,
//! listings and pages for as long as it likes: what it knows is never asked again. Locks of files stay
//! in the kernel as well. Nothing is flushed: an active layer does not outlive a crash of the machine.

mod acl;
mod attr;
mod caller;
mod copy_tree;
mod copy_up;
mod dir;
mod init;
mod io;
mod link_counts;
mod maker;
mod names;
mod node;
mod numbers;
mod open;
mod open_dirs;
mod overlay;
mod rename;
mod session;
mod shown_ids;
mod table;
mod times;
mod words;
mod xattr;

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use lamina_types::IoContext;

use crate::ActiveLayer;
use crate::LayerStack;
use crate::SnapshotError;
use crate::fdio;
use crate::store::EMPTY_DIR;
use crate::store::SnapshotStore;
use crate::tree::Part;
use overlay::Overlay;
use overlay::Writable;

/// What a FUSE session serves: a stack, and perhaps a writable upper directory on it.
///
/// It holds the layers and directories that it needs, so it may outlive what it was made of.
#[derive(Clone)]
pub(crate) struct OverlayFs(Arc<Overlay>);

impl OverlayFs {
    /// Serves `stack` read-only.
    ///
    /// # Errors
    /// If a layer cannot be opened.
    pub(crate) fn of_view(
        store: &SnapshotStore,
        stack: &LayerStack,
    ) -> Result<Self, SnapshotError> {
        let root: Arc<[Part]> = match stack.is_empty() {
            true => {
                let empty = fdio::open_dir(store.dir(), EMPTY_DIR.as_bytes()).at(EMPTY_DIR)?;
                Arc::new([Part::upper(Arc::new(empty), store.format())])
            }
            false => stack.tree().root_parts()?,
        };
        let overlay = Overlay::new(stack, root, store.format(), None);
        Ok(Self(Arc::new(overlay)))
    }

    /// Serves a layer that is being made, after [`ActiveLayer::begin_mount`]. The layer must not be
    /// committed before the session has ended.
    ///
    /// # Errors
    /// If a layer or the work directory cannot be opened.
    pub(crate) fn of_active(active: &ActiveLayer) -> Result<Self, SnapshotError> {
        let store = active.store();
        let writable = Writable::new(active.work_dir()?, store.umask());
        let root = active.tree().root_parts()?;
        let overlay = Overlay::new(active.lower(), root, store.format(), Some(writable));
        Ok(Self(Arc::new(overlay)))
    }

    /// Gives files the times that the kernel shows below `mount`, which nobody uses any more, where it
    /// has not told them.
    pub(crate) fn settle_times(&self, mount: BorrowedFd<'_>) {
        self.0.settle_times(mount);
    }
}

impl std::fmt::Debug for OverlayFs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OverlayFs").finish_non_exhaustive()
    }
}
