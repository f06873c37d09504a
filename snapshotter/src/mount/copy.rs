//! Copies instead of mounts, for where nothing can be mounted but what is there.
//!
//! A view is a copy of the merged tree in a throw-away layer (blocks are shared where the file system
//! can); links would show in the number of names that a process sees. What a process did to a writable
//! copy is found afterwards by comparing the two trees. That costs time and space with every step, in
//! proportion to the whole tree, so this is used only if it is asked for by name.
//!
//! A process that makes an overlay mount of its own inside the step loses the marks of that overlay
//! (`trusted.overlay.*`, `user.overlay.*`, character devices 0:0): a copy cannot tell them from ours.

use super::Backing;
use super::DetachedMount;
use super::Inner;
use super::MountEnd;
use super::Mounter;
use super::bind;
use super::flatten::flatten;
use super::probe;
use crate::ActiveLayer;
use crate::LayerStack;
use crate::SnapshotError;
use crate::copy::Placer;
use crate::store::SnapshotStore;
use crate::tree::Entry;

/// The copying backend.
pub struct CopyTree {
    store: SnapshotStore,
}

impl CopyTree {
    /// Finds out whether copies work here.
    ///
    /// # Errors
    /// [`SnapshotError::Unavailable`] with the reason.
    pub fn probe(store: &SnapshotStore) -> Result<Self, SnapshotError> {
        let candidate = Self {
            store: store.clone(),
        };
        let checked =
            probe::require_real_owners(store).and_then(|()| probe::check(&candidate, store));
        match checked {
            Ok(()) => Ok(candidate),
            Err(error) => Err(SnapshotError::Unavailable {
                backend: "copy",
                reason: error.to_string(),
            }),
        }
    }

    /// Copies the tree below `root`.
    fn copy(&self, root: Entry) -> Result<Box<ActiveLayer>, SnapshotError> {
        let scratch = self.store.prepare(&LayerStack::empty())?;
        flatten(root, &scratch, Placer::copying_all())?;
        Ok(Box::new(scratch))
    }
}

impl Mounter for CopyTree {
    fn mount_view(&self, stack: &LayerStack) -> Result<DetachedMount, SnapshotError> {
        if let Some(view) = bind::simple_view(&self.store, stack)? {
            return Ok(view);
        }
        let scratch = self.copy(stack.tree().root()?)?;
        let fd = bind::read_only(scratch.upper_dir(), "view")?;
        let backing = Backing(Inner::Scratch(scratch));
        Ok(DetachedMount { fd, backing })
    }

    fn mount_active(&self, active: &ActiveLayer) -> Result<DetachedMount, SnapshotError> {
        active.end_mount()?;
        let scratch = self.copy(active.tree().root()?)?;
        let fd = bind::writable(scratch.upper_dir(), "writable view")?;
        active.mounted_until(MountEnd::Scratch(scratch));
        Ok(DetachedMount::of(fd))
    }

    fn describe(&self) -> String {
        "copy (the whole tree, for every step)".to_owned()
    }
}

impl std::fmt::Debug for CopyTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}
