//! Deleting layers that nothing needs.

use lamina_types::IoContext;
use lamina_types::LayerId;

use super::Layer;
use super::SnapshotStore;
use super::files;
use crate::SnapshotError;
use crate::remove;

impl SnapshotStore {
    /// Removes the layers that nothing holds (no [`Layer`] alive) and that `keep` does not name, and
    /// returns the bytes that they used.
    ///
    /// Each is renamed away first, for good, so no crash leaves half of a layer behind.
    ///
    /// # Errors
    /// I/O errors of the store's folder. Layers whose files cannot all be deleted are gone from the
    /// store and tried again when it is opened next.
    pub fn sweep(&self, keep: &dyn Fn(LayerId) -> bool) -> Result<u64, SnapshotError> {
        let detached = self.detach_unused(keep)?;
        if !detached.is_empty() {
            // A loss of power must not bring back a name without all of its files.
            files::sync_dir(self.dir())?;
        }
        let mut freed = 0;
        for (name, usage_bytes) in detached {
            match remove::remove_tree(self.dir(), name.as_bytes()) {
                Ok(()) => freed += usage_bytes,
                Err(error) => tracing::warn!(name, %error, "cannot delete a dead layer"),
            }
        }
        Ok(freed)
    }

    /// Renames unused layers to names that the store does not look at.
    fn detach_unused(
        &self,
        keep: &dyn Fn(LayerId) -> bool,
    ) -> Result<Vec<(String, u64)>, SnapshotError> {
        let mut layers = self.layers();
        let unused: Vec<LayerId> = layers
            .values()
            .filter(|layer| layer.is_unused() && !keep(layer.id()))
            .map(Layer::id)
            .collect();
        let mut detached = Vec::new();
        for id in unused {
            let dead = format!("dead-{id}");
            rustix::fs::renameat(self.dir(), id.to_string(), self.dir(), &dead).at(id)?;
            self.progress().deleted(id);
            if let Some(layer) = layers.remove(&id) {
                detached.push((dead, layer.usage_bytes()));
            }
        }
        Ok(detached)
    }
}
