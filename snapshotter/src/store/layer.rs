//! One sealed layer.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;
use std::time::SystemTime;

use lamina_types::ChainId;
use lamina_types::DiffId;
use lamina_types::IoContext;
use lamina_types::LayerId;
use lamina_types::RootedPath;

use super::LayerBlob;
use super::StorePlace;
use super::census::Census;
use super::manifest;
use super::manifest::Manifest;
use crate::Owners;
use crate::SnapshotError;
use crate::changes::Changes;
use crate::digest::Memo;
use crate::fdio;

/// A sealed layer. Clones share it; it stays on disk while one lives.
#[derive(Clone)]
pub struct Layer(Arc<LayerInner>);

struct LayerInner {
    id: LayerId,
    place: Arc<StorePlace>,
    manifest: Mutex<Manifest>,
    /// The `fs` directory, open as long as somebody uses it.
    fs: Mutex<Weak<OwnedFd>>,
    digests: Memo,
}

impl Layer {
    pub(super) fn new(
        id: LayerId,
        place: Arc<StorePlace>,
        manifest: Manifest,
        digests: Memo,
    ) -> Self {
        Self(Arc::new(LayerInner {
            id,
            place,
            manifest: Mutex::new(manifest),
            fs: Mutex::default(),
            digests,
        }))
    }

    fn manifest(&self) -> MutexGuard<'_, Manifest> {
        let manifest = self.0.manifest.lock();
        manifest.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the name of the layer in its store.
    #[must_use]
    pub fn id(&self) -> LayerId {
        self.0.id
    }

    /// Returns the bytes on disk, each inode once, links into other layers not counted.
    #[must_use]
    pub fn usage_bytes(&self) -> u64 {
        self.manifest().usage_bytes
    }

    /// Returns how the layer came to be, as image histories word it; empty if nobody said.
    #[must_use]
    pub fn description(&self) -> String {
        self.manifest().description.clone()
    }

    /// Returns when the layer was sealed.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.manifest().created_ns)
    }

    /// Returns the image layers that unpack to this layer: known once exported or pulled.
    #[must_use]
    pub fn blobs(&self) -> Vec<LayerBlob> {
        self.manifest().blobs.clone()
    }

    /// Remembers, durably, that `blob` unpacks to this layer, wherever it is stacked.
    ///
    /// # Errors
    /// I/O errors of the manifest, which is then unchanged.
    pub fn add_blob(&self, blob: LayerBlob) -> Result<(), SnapshotError> {
        self.update(|manifest| add_once(&mut manifest.blobs, blob))
    }

    /// Remembers, durably, that `blob` unpacks to this layer at `chain` (which includes it) only: the
    /// blob has opaque directories, whose meaning depends on the layers below.
    ///
    /// # Errors
    /// I/O errors of the manifest, which is then unchanged.
    pub fn add_blob_at(&self, blob: LayerBlob, chain: ChainId) -> Result<(), SnapshotError> {
        self.update(|manifest| {
            add_once(&mut manifest.blobs, blob);
            add_once(&mut manifest.chains, chain);
        })
    }

    fn update(&self, change: impl FnOnce(&mut Manifest)) -> Result<(), SnapshotError> {
        let mut current = self.manifest();
        let mut changed = current.clone();
        change(&mut changed);
        if changed != *current {
            manifest::replace(&self.folder()?, &changed)?;
            *current = changed;
        }
        Ok(())
    }

    /// Says whether unpacking `diff_id` at `chain` would give this layer.
    pub(super) fn unpacks(&self, diff_id: DiffId, chain: ChainId) -> bool {
        let manifest = self.manifest();
        manifest.blobs.iter().any(|blob| blob.diff_id == diff_id)
            && (manifest.chains.is_empty() || manifest.chains.contains(&chain))
    }

    /// Returns the changes of this layer alone in path order, parents first: for exports.
    ///
    /// # Errors
    /// If the layer's directory cannot be read.
    pub fn changes(&self) -> Result<Changes, SnapshotError> {
        Changes::of(self)
    }

    /// Says whether the layer deletes anything.
    #[must_use]
    pub fn has_whiteouts(&self) -> bool {
        self.manifest().has_whiteouts
    }

    /// Returns the directories that the layer has only because something below them changed.
    pub(crate) fn implied_parents(&self) -> BTreeSet<RootedPath> {
        self.manifest().implied_parents()
    }

    pub(crate) fn links_from(&self) -> BTreeSet<LayerId> {
        self.manifest().links_from.clone()
    }

    /// Says whether it is known that no file has two names in this layer.
    pub(crate) fn has_single_names(&self) -> bool {
        self.manifest().single_names
    }

    /// Returns what the layer held when it was sealed, if it is known.
    pub(super) fn census(&self) -> Option<Census> {
        self.manifest().census
    }

    /// Says whether the changeset's root directory is there.
    pub(super) fn is_on_disk(&self) -> bool {
        let path = format!("{}/fs", self.0.id);
        let found = fdio::stat_at(&self.0.place.dir, path.as_bytes());
        found.is_ok_and(|found| found.is_some_and(|found| found.is_dir()))
    }

    /// Returns where the owners of files are kept.
    pub(crate) fn owners(&self) -> Owners {
        self.0.place.format.owners
    }

    /// Opens the changeset's root directory; those who hold it share one descriptor.
    pub(crate) fn open_fs(&self) -> Result<Arc<OwnedFd>, SnapshotError> {
        let mut shared = self.0.fs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = shared.upgrade() {
            return Ok(open);
        }
        let open = Arc::new(fdio::open_dir(self.folder()?, b"fs").at(self.0.id)?);
        *shared = Arc::downgrade(&open);
        Ok(open)
    }

    pub(super) fn folder(&self) -> Result<OwnedFd, SnapshotError> {
        let name = self.0.id.to_string();
        Ok(fdio::open_dir(&self.0.place.dir, name.as_bytes()).at(&name)?)
    }

    /// Returns the content digests that the layer remembers.
    pub(crate) fn digests(&self) -> &Memo {
        self.0.digests.load(|| self.folder().ok());
        &self.0.digests
    }

    /// Keeps the content digests for later processes.
    pub(crate) fn save_digests(&self) {
        self.0.digests.save(|| self.folder().ok());
    }

    /// Says whether only the store itself holds the layer.
    pub(super) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Layer").field(&self.0.id).finish()
    }
}

fn add_once<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}
