//! What layers take on disk, told without opening or holding any of them.

use std::time::SystemTime;

use lamina_types::LayerId;

use super::LayerBlob;
use super::SnapshotStore;

/// What is known of one layer.
#[derive(Clone, Debug)]
pub struct LayerUsage {
    /// Which.
    pub id: LayerId,
    /// Bytes on disk, each inode once, links into other layers not counted.
    pub bytes: u64,
    /// When it was sealed.
    pub created: SystemTime,
    /// How it came to be.
    pub description: String,
    /// Image layers that unpack to it.
    pub blobs: Vec<LayerBlob>,
    /// Somebody holds it, so [`SnapshotStore::sweep`] would leave it.
    pub in_use: bool,
}

impl SnapshotStore {
    /// Describes all layers, by id. Unlike [`SnapshotStore::all_layers`] it keeps none of them from
    /// being swept, and so it can tell which are in use.
    #[must_use]
    pub fn usage(&self) -> Vec<LayerUsage> {
        let layers = self.layers();
        let mut usage: Vec<LayerUsage> = layers
            .values()
            .map(|layer| LayerUsage {
                id: layer.id(),
                bytes: layer.usage_bytes(),
                created: layer.created(),
                description: layer.description(),
                blobs: layer.blobs(),
                in_use: !layer.is_unused(),
            })
            .collect();
        drop(layers);
        usage.sort_by_key(|layer| layer.id);
        usage
    }
}
