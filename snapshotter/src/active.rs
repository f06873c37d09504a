//! A layer that is being made.

use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use lamina_types::CancelToken;
use lamina_types::IoContext;
use lamina_types::LayerId;
use lamina_types::RootedPath;
use rustix::fs::Mode;
use rustix::io::Errno;

use crate::SnapshotError;
use crate::fdio;
use crate::metadata;
use crate::metadata::MetadataChange;
use crate::mount::MountEnd;
use crate::remove;
use crate::seal;
use crate::stack::LayerStack;
use crate::store::Layer;
use crate::store::SnapshotStore;
use crate::store::unfinished_name;
use crate::tree::Origin;
use crate::tree::Tree;
use crate::upper::Upper;

/// A layer being made: a lower stack and a writable upper directory.
///
/// It is written through [`ActiveLayer::writer`], or by processes that see a mount of it; not by both
/// at once. Dropped without [`ActiveLayer::commit`], it is deleted.
#[must_use]
pub struct ActiveLayer {
    /// The last mount, until its end was waited for. Dropped before the folder that it writes to.
    mount: Mutex<Option<MountEnd>>,
    folder: Folder,
    lower: LayerStack,
    upper: Upper,
    mounted: AtomicBool,
    description: String,
}

impl ActiveLayer {
    pub(crate) fn prepare(
        store: &SnapshotStore,
        lower: &LayerStack,
    ) -> Result<Self, SnapshotError> {
        let folder = Folder::create(store)?;
        let fs = folder.make_dir("fs", 0o755)?;
        let below = lower.tree().root()?;
        let change = MetadataChange {
            mtime_ns: (!lower.is_empty()).then_some(below.stat().mtime_ns),
            ..MetadataChange::all_of(below.stat())
        };
        metadata::apply(store.owners(), &fs, below.stat().kind, &change).at(RootedPath::root())?;
        let staging = folder.dir.try_clone().at("layer")?;
        let upper = Upper::new(store, lower, fs, (unfinished_name(folder.id), staging));
        Ok(Self {
            mount: Mutex::default(),
            folder,
            lower: lower.clone(),
            upper,
            mounted: AtomicBool::new(false),
            description: String::new(),
        })
    }

    /// Says how this layer comes to be, for [`Layer::description`].
    pub fn describe(&mut self, description: impl Into<String>) {
        self.description = description.into();
    }

    /// Returns the stack that this layer will be put on.
    #[must_use]
    pub fn lower(&self) -> &LayerStack {
        &self.lower
    }

    /// Returns the merged view including what was written so far.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.upper.tree().clone()
    }

    /// Returns what writes to this layer with overlay semantics, without a mount; it may be used from
    /// many threads.
    #[must_use]
    pub fn writer(&self) -> Upper {
        self.upper.clone()
    }

    /// Says whether the file at `origin` may become a name in this layer by link.
    ///
    /// It may not if that could give one inode two names in a view: if its layer, or a layer that
    /// shares inodes with that one, is below this layer, or if the inode has a name here already.
    /// [`crate::WriteDir::link_from`] applies the same rule.
    #[must_use]
    pub fn may_link_from(&self, origin: &Origin) -> bool {
        self.upper.may_link_from(origin)
    }

    /// Returns the upper directory, for mounting.
    #[must_use]
    pub fn upper_dir(&self) -> &OwnedFd {
        self.upper.root_fd()
    }

    /// Takes over what processes wrote through the last mount of the layer, if there was one.
    ///
    /// To be called when the processes are gone and all descriptors of the mount are closed, before the
    /// layer is looked at or written to again; mounting and committing do it too. Waits for the last
    /// writes to arrive.
    ///
    /// # Errors
    /// [`SnapshotError::MountInUse`] if the mount does not go away; I/O errors.
    pub fn end_mount(&self) -> Result<(), SnapshotError> {
        let mut mount = self.mount.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = &*mount {
            end.take_over(self)?;
        }
        *mount = None;
        Ok(())
    }

    /// Notes a mount whose end needs work.
    pub(crate) fn mounted_until(&self, end: MountEnd) {
        let mut mount = self.mount.lock().unwrap_or_else(PoisonError::into_inner);
        *mount = Some(end);
    }

    /// Seals the layer and puts it into the store.
    ///
    /// Everything that the layer deletes becomes an explicit whiteout, no attribute of overlayfs is
    /// left but the mark that makes the kernel see whiteouts, and usage and manifest are written. No
    /// mount of the layer may be in use any more.
    ///
    /// # Errors
    /// [`SnapshotError::UnsupportedAttribute`] if a process left something behind that sealed layers
    /// cannot hold; [`SnapshotError::MountInUse`]; I/O errors; [`SnapshotError::Cancelled`]. The layer
    /// is deleted on every error.
    pub fn commit(self, cancel: &CancelToken) -> Result<Layer, SnapshotError> {
        self.end_mount()?;
        self.upper.seal();
        let mut sealed = seal::seal(&self.upper, self.mounted.load(Ordering::Acquire), cancel)?;
        sealed.manifest.description = self.description;
        self.folder.remove("work")?;
        let id = self.folder.id;
        let layer = self.folder.store.publish(id, sealed)?;
        self.folder.keep();
        Ok(layer)
    }

    /// Returns a fresh, empty work directory for a mount that will write to this layer, after making
    /// sure that no such write can reach a sealed layer, and that no earlier mount is left.
    ///
    /// # Errors
    /// [`SnapshotError::MountInUse`]; I/O errors.
    pub(crate) fn begin_mount(&self) -> Result<OwnedFd, SnapshotError> {
        self.end_mount()?;
        self.upper.break_all_links()?;
        self.mounted.store(true, Ordering::Release);
        self.folder.remove("work")?;
        self.folder.make_dir("work", 0o700)
    }

    /// Opens the work directory of the mount that was begun.
    pub(crate) fn work_dir(&self) -> Result<OwnedFd, SnapshotError> {
        Ok(fdio::open_dir(&self.folder.dir, b"work").at("work")?)
    }

    /// Returns the store that the layer will be in.
    pub(crate) fn store(&self) -> &SnapshotStore {
        &self.folder.store
    }

    /// Returns the name of the layer's folder in the store's.
    pub(crate) fn folder_name(&self) -> String {
        unfinished_name(self.folder.id)
    }
}

impl std::fmt::Debug for ActiveLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("ActiveLayer");
        shown
            .field("id", &self.folder.id)
            .field("lower", &self.lower);
        shown.finish()
    }
}

/// The folder `tmp-<id>`, deleted when dropped.
struct Folder {
    store: SnapshotStore,
    id: LayerId,
    dir: OwnedFd,
    kept: AtomicBool,
}

impl Folder {
    fn create(store: &SnapshotStore) -> Result<Self, SnapshotError> {
        let id = store.new_id()?;
        let name = unfinished_name(id);
        rustix::fs::mkdirat(store.dir(), &name, Mode::from_raw_mode(0o700)).at(&name)?;
        let dir = fdio::open_dir(store.dir(), name.as_bytes()).at(&name)?;
        Ok(Self {
            store: store.clone(),
            id,
            dir,
            kept: AtomicBool::new(false),
        })
    }

    fn make_dir(&self, name: &str, mode: u32) -> Result<OwnedFd, SnapshotError> {
        match rustix::fs::mkdirat(&self.dir, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(crate::error::errno(error, name)),
        }
        let dir = fdio::open_dir_readable(&self.dir, name.as_bytes()).at(name)?;
        metadata::set_mode(&dir, mode).at(name)?;
        Ok(dir)
    }

    fn remove(&self, name: &str) -> Result<(), SnapshotError> {
        Ok(remove::remove_tree(&self.dir, name.as_bytes()).at(name)?)
    }

    /// Leaves the folder to the store.
    fn keep(&self) {
        self.kept.store(true, Ordering::Release);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Acquire) {
            self.store.discard(self.id);
        }
    }
}
