//! The layers on disk.
//!
//! ```text
//! layers/format        {"version": 1, "xattrs": "trusted" | "user", "owners": missing | "stored"}
//! layers/next          hex number: ids from here on were never used
//! layers/flushed       JSON: the layers that would survive a loss of power
//! layers/boot          the boot in which the store was last opened
//! layers/empty/        an empty directory, the bottom of views that need one
//! layers/<id>/fs/      the changeset; id in lower-case hex without leading zeros
//! layers/<id>/manifest JSON: what is known of the layer
//! layers/<id>/digests  content digests that were computed; may be missing
//! ```
//!
//! A layer is published by renaming its complete folder from `tmp-<id>` to `<id>`, and deleted by
//! renaming it to `dead-<id>` first. So whatever has a plain id is complete, and everything else is
//! swept when the store is opened. That holds when the process is killed; when the machine is,
//! layers are dropped that [`SnapshotStore::flush`] had not seen. There is no database: opening
//! reads one small file per layer. A layer whose manifest cannot be read is dropped with a line in
//! the log; a store never fails to open because of one layer.
//!
//! Whoever opens a store must be the only process that uses the folder.

pub(crate) mod census;
mod check;
mod deleter;
pub(crate) mod files;
mod flushed;
mod ids;
mod layer;
pub(crate) mod manifest;
mod open;
mod sweep;
mod usage;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_types::ChainId;
use lamina_types::DiffId;
use lamina_types::IoContext;
use lamina_types::LayerId;

pub use check::DamagedLayer;
pub use check::StoreCheck;
pub use layer::Layer;
pub use manifest::LayerBlob;
pub use usage::LayerUsage;

pub(crate) use open::EMPTY_DIR;

use crate::ActiveLayer;
use crate::Owners;
use crate::SnapshotError;
use crate::StoreFormat;
use crate::XattrNamespace;
use crate::digest::Memo;
use crate::fdio;
use crate::remove;
use crate::seal::Sealed;
use crate::stack::LayerStack;
use deleter::Deleter;

/// The `layers/` folder of a state folder. Clones share it.
#[derive(Clone)]
pub struct SnapshotStore(Arc<StoreInner>);

struct StoreInner {
    place: Arc<StorePlace>,
    layers: Mutex<HashMap<LayerId, Layer>>,
    progress: Mutex<flushed::Progress>,
    /// One flush at a time, since one does for all.
    flushing: Mutex<()>,
    deleter: Deleter,
    /// Mode bits that the kernel takes away from what this process makes.
    umask: u32,
}

/// Where the store is.
pub(crate) struct StorePlace {
    pub(crate) path: PathBuf,
    pub(crate) dir: OwnedFd,
    pub(crate) format: StoreFormat,
}

impl SnapshotStore {
    /// Opens the store in the folder `dir`, making it in `format` if it does not exist, and reads the
    /// manifests. What an earlier process left unfinished is deleted in the background.
    ///
    /// A store of real owners stays one where stored ones are asked for: [`SnapshotStore::owners`] tells.
    ///
    /// # Errors
    /// [`SnapshotError::Format`] if the store is of another version or namespace, or has stored owners
    /// where real ones are asked for; I/O errors of the folder itself. A broken layer is dropped and is
    /// not an error.
    pub fn open(dir: &Path, format: impl Into<StoreFormat>) -> Result<Self, SnapshotError> {
        let place = open::open_place(dir, format.into())?;
        open::make_empty_dir(&place)?;
        let contents = open::scan(&place)?;
        let ids = ids::Ids::new(contents.highest());
        let progress = flushed::Progress::new(ids, contents.unflushed());
        let deleter = Deleter::new(Arc::clone(&place));
        deleter.delete(contents.dead);
        let mut layers = HashMap::new();
        for (id, manifest) in contents.layers {
            layers.insert(
                id,
                Layer::new(id, Arc::clone(&place), manifest, Memo::default()),
            );
        }
        Ok(Self(Arc::new(StoreInner {
            place,
            layers: Mutex::new(layers),
            progress: Mutex::new(progress),
            flushing: Mutex::default(),
            deleter,
            umask: open::umask(),
        })))
    }

    /// Starts a writable layer on top of `lower`. Dropping it without commit removes it.
    ///
    /// # Errors
    /// I/O errors of the store's folder.
    pub fn prepare(&self, lower: &LayerStack) -> Result<ActiveLayer, SnapshotError> {
        ActiveLayer::prepare(self, lower)
    }

    /// Returns a layer by its id.
    #[must_use]
    pub fn layer(&self, id: LayerId) -> Option<Layer> {
        self.layers().get(&id).cloned()
    }

    /// Returns a layer by its id if it is still on disk. One that is not, since somebody has removed its
    /// files, is forgotten, so that whoever wants it makes it again.
    #[must_use]
    pub fn sound_layer(&self, id: LayerId) -> Option<Layer> {
        let layer = self.layer(id)?;
        if layer.is_on_disk() {
            return Some(layer);
        }
        tracing::warn!(layer = %id, "a layer has lost its files");
        drop(layer);
        if let Err(error) = self.remove(&[id]) {
            tracing::debug!(%error, "a damaged layer could not be removed");
        }
        None
    }

    /// Returns all layers, by id.
    #[must_use]
    pub fn all_layers(&self) -> Vec<Layer> {
        let mut layers: Vec<Layer> = self.layers().values().cloned().collect();
        layers.sort_by_key(Layer::id);
        layers
    }

    /// Returns the layer that an image layer was unpacked to before.
    ///
    /// A layer that had no opaque directories means the same everywhere and is found by `diff_id`
    /// alone; one whose unpacking depended on the layers below is found at the same `chain` only.
    #[must_use]
    pub fn layer_by_diff_id(&self, diff_id: DiffId, chain: ChainId) -> Option<Layer> {
        let layers = self.layers();
        let mut matching = layers
            .values()
            .filter(|layer| layer.unpacks(diff_id, chain));
        matching.next().cloned()
    }

    /// Returns which attributes the layers use.
    #[must_use]
    pub fn namespace(&self) -> XattrNamespace {
        self.format().xattrs
    }

    /// Returns where the owners of files are kept.
    #[must_use]
    pub fn owners(&self) -> Owners {
        self.format().owners
    }

    /// Returns what was fixed when the store was made.
    pub(crate) fn format(&self) -> StoreFormat {
        self.0.place.format
    }

    /// Returns the folder that the store is in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.place.path
    }

    pub(crate) fn dir(&self) -> &OwnedFd {
        &self.0.place.dir
    }

    pub(crate) fn umask(&self) -> u32 {
        self.0.umask
    }

    fn layers(&self) -> MutexGuard<'_, HashMap<LayerId, Layer>> {
        self.0.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out an id that no layer has or ever had.
    pub(crate) fn new_id(&self) -> Result<LayerId, SnapshotError> {
        self.progress().begin(&self.0.place)
    }

    /// Makes the finished folder `tmp-<id>` the layer `id`.
    pub(crate) fn publish(&self, id: LayerId, sealed: Sealed) -> Result<Layer, SnapshotError> {
        let (dir, unfinished) = (self.dir(), unfinished_name(id));
        let folder = fdio::open_dir(dir, unfinished.as_bytes()).at(&unfinished)?;
        let Sealed { manifest, digests } = sealed;
        manifest::write(&folder, &manifest)?;
        let digests = Memo::knowing(digests);
        digests.save(|| Some(folder));
        rustix::fs::renameat(dir, &unfinished, dir, id.to_string()).at(id)?;
        self.progress().published(id);
        let layer = Layer::new(id, Arc::clone(&self.0.place), manifest, digests);
        self.layers().insert(id, layer.clone());
        Ok(layer)
    }

    /// Deletes an unfinished layer.
    pub(crate) fn discard(&self, id: LayerId) {
        let name = unfinished_name(id);
        if let Err(error) = remove::remove_tree(self.dir(), name.as_bytes()) {
            tracing::warn!(%error, name, "cannot remove an unfinished layer");
        }
        self.progress().discarded(id);
    }
}

impl std::fmt::Debug for SnapshotStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SnapshotStore").field(&self.path()).finish()
    }
}

/// Returns the folder name of a layer that is being deleted.
fn dead_name(id: LayerId) -> String {
    format!("dead-{id}")
}

/// Returns the folder name of a layer that is being written.
pub(crate) fn unfinished_name(id: LayerId) -> String {
    format!("tmp-{id}")
}
