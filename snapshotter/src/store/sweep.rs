//! Deleting layers that nothing needs.

use lamina_types::IoContext;
use lamina_types::LayerId;
use rustix::io::Errno;

use super::Layer;
use super::SnapshotStore;
use super::dead_name;
use super::files;
use crate::SnapshotError;

impl SnapshotStore {
    /// Removes the layers that nothing holds (no [`Layer`] alive) and that `keep` does not name, and
    /// returns the bytes that they use. These are free once [`SnapshotStore::finish_deleting`] returns.
    ///
    /// # Errors
    /// As [`SnapshotStore::remove`].
    pub fn sweep(&self, keep: &dyn Fn(LayerId) -> bool) -> Result<u64, SnapshotError> {
        let layers = self.layers();
        let ids = layers.keys().copied().filter(|id| !keep(*id));
        let doomed: Vec<LayerId> = ids.collect();
        drop(layers);
        self.remove(&doomed)
    }

    /// Removes those of the layers `doomed` that nothing holds, and returns the bytes that they use.
    ///
    /// Each is renamed away, for good, before anything in it is deleted in the background. So no crash
    /// leaves half of a layer behind.
    ///
    /// # Errors
    /// I/O errors of the store's folder. Layers whose files cannot all be deleted are gone from the
    /// store and tried again when it is opened next.
    pub fn remove(&self, doomed: &[LayerId]) -> Result<u64, SnapshotError> {
        let detached = self.detach_unused(doomed)?;
        if !detached.is_empty() {
            // A loss of power must not bring back a name without all of its files.
            files::sync_dir(self.dir())?;
        }
        let freed = detached.iter().map(|(_, usage_bytes)| usage_bytes).sum();
        self.0
            .deleter
            .delete(detached.into_iter().map(|(name, _)| name));
        Ok(freed)
    }

    /// Waits until everything that was removed is deleted.
    pub fn finish_deleting(&self) {
        self.0.deleter.wait();
    }

    /// Renames unused layers to names that the store does not look at.
    fn detach_unused(&self, doomed: &[LayerId]) -> Result<Vec<(String, u64)>, SnapshotError> {
        let mut layers = self.layers();
        let mut detached = Vec::new();
        for id in doomed {
            if !layers.get(id).is_some_and(Layer::is_unused) {
                continue;
            }
            let dead = dead_name(*id);
            match rustix::fs::renameat(self.dir(), id.to_string(), self.dir(), &dead) {
                // Somebody has removed it already.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => Err(error).at(id)?,
            }
            self.progress().deleted(*id);
            if let Some(layer) = layers.remove(id) {
                detached.push((dead, layer.usage_bytes()));
            }
        }
        Ok(detached)
    }
}
