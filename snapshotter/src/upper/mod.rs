//! Writing to an active layer with overlay semantics, without a mount.
//!
//! The upper directory holds what differs from the layers below. Writing below a directory that only
//! a lower layer has first *copies up* the directory: its metadata, not its content. Deleting a name
//! that a lower layer shows leaves a whiteout (character device 0:0). A directory made in place of a
//! whiteout is marked opaque, so that nothing below shows through; sealing turns the mark into
//! whiteouts.
//!
//! Every directory is one [`WriteDir`] shared by all who opened it, with its descriptor kept, so a
//! copier that makes thousands of files in a new directory needs one `openat` for each and no `stat`.

mod change;
mod create;
mod digests;
mod dir;
mod hide;
mod linker;
mod remove;
mod stage;

use std::collections::HashMap;
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use lamina_types::RootedPath;
use rustix::io::Errno;

pub use dir::WriteDir;
pub use linker::Linker;

pub(crate) use create::make_whiteout;
pub(crate) use stage::At;
pub(crate) use stage::CopyRules;
pub(crate) use stage::copy_dir;
pub(crate) use stage::copy_entry;

use crate::Owners;
use crate::SnapshotError;
use crate::digest::Book;
use crate::error::errno;
use crate::links::LinkBook;
use crate::stack::LayerStack;
use crate::store::Layer;
use crate::store::SnapshotStore;
use crate::tree::Follow;
use crate::tree::Origin;
use crate::tree::Tree;
use dir::DirInner;

/// The writable side of an active layer. Cheap to clone, and safe to use from many threads as long as
/// they do not work on the same name.
#[derive(Clone)]
pub struct Upper(Arc<UpperInner>);

struct UpperInner {
    store: SnapshotStore,
    fs: Arc<OwnedFd>,
    folder_name: String,
    /// Where files are made before they replace others; on the same file system.
    staging: OwnedFd,
    staged: AtomicU64,
    lower: Tree,
    view: Tree,
    links: LinkBook,
    written: Book,
    dirs: Mutex<HashMap<RootedPath, Weak<DirInner>>>,
    marks: Mutex<Marks>,
    sealed: AtomicBool,
}

/// What callers said about directories, as against what comparing them with the lower would tell.
#[derive(Default)]
struct Marks {
    /// Metadata was set on purpose.
    explicit: HashSet<RootedPath>,
    /// Made only to hold something.
    implied: HashSet<RootedPath>,
}

impl Upper {
    pub(crate) fn new(
        store: &SnapshotStore,
        lower: &LayerStack,
        fs: OwnedFd,
        folder: (String, OwnedFd),
    ) -> Self {
        let (folder_name, staging) = folder;
        let fs = Arc::new(fs);
        Self(Arc::new(UpperInner {
            store: store.clone(),
            view: Tree::of_active(lower.clone(), Arc::clone(&fs), store.format()),
            lower: lower.tree(),
            links: LinkBook::new(lower),
            written: Book::default(),
            fs,
            folder_name,
            staging,
            staged: AtomicU64::new(0),
            dirs: Mutex::default(),
            marks: Mutex::default(),
            sealed: AtomicBool::new(false),
        }))
    }

    /// Returns the root directory.
    ///
    /// # Errors
    /// If a lower layer cannot be opened.
    pub fn root(&self) -> Result<WriteDir, SnapshotError> {
        if let Some(known) = self.known(&RootedPath::root()) {
            return Ok(known);
        }
        let root = self.intern(WriteDir::make_root(self)?)?;
        Ok(root.expect("the root is always in the upper"))
    }

    /// Resolves `path`, following symlinks inside the tree, to an existing directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, [`SnapshotError::TooManyLinks`].
    pub fn dir(&self, path: &RootedPath) -> Result<WriteDir, SnapshotError> {
        if let Ok(dir) = self.dir_itself(path) {
            return Ok(dir);
        }
        // A symlink is on the way, or there is no such directory, which a look-up explains.
        let entry = self.0.view.lookup(path, Follow::Last)?;
        if !entry.stat().is_dir() {
            return Err(errno(Errno::NOTDIR, path));
        }
        self.dir_itself(entry.path())
    }

    /// As [`Upper::dir`], not following symlinks.
    fn dir_itself(&self, path: &RootedPath) -> Result<WriteDir, SnapshotError> {
        let root = self.root()?;
        path.components()
            .try_fold(root, |dir, name| dir.open_dir(name))
    }

    /// Says whether the file at `origin` may become a name in this layer by link; see
    /// [`crate::ActiveLayer::may_link_from`].
    #[must_use]
    pub fn may_link_from(&self, origin: &Origin) -> bool {
        self.source_of(origin)
            .is_some_and(|layer| self.0.links.may_link(origin.inode, &layer))
    }

    /// Returns the sealed layer of this store that holds `origin`.
    fn source_of(&self, origin: &Origin) -> Option<Layer> {
        self.0.store.layer(origin.layer?)
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.0.view
    }

    pub(crate) fn lower(&self) -> &Tree {
        &self.0.lower
    }

    pub(crate) fn root_fd(&self) -> &Arc<OwnedFd> {
        &self.0.fs
    }

    pub(crate) fn store(&self) -> &SnapshotStore {
        &self.0.store
    }

    /// Returns where the owners of files are kept.
    fn owners(&self) -> Owners {
        self.store().owners()
    }

    /// Returns the name of the layer's folder in the store's.
    fn folder_name(&self) -> &str {
        &self.0.folder_name
    }

    pub(crate) fn links(&self) -> &LinkBook {
        &self.0.links
    }

    /// Returns the digests of files that were written.
    pub(crate) fn written(&self) -> &Book {
        &self.0.written
    }

    /// Refuses all further writes.
    pub(crate) fn seal(&self) {
        self.0.sealed.store(true, Ordering::Release);
    }

    fn check_unsealed(&self, path: &RootedPath) -> Result<(), SnapshotError> {
        if self.0.sealed.load(Ordering::Acquire) {
            let path = path.clone();
            return Err(SnapshotError::Sealed { path });
        }
        Ok(())
    }

    /// Says whether a directory was changed or made on purpose (`Some(false)`), only to hold something
    /// (`Some(true)`), or whether nobody said.
    pub(crate) fn said_implied(&self, path: &RootedPath) -> Option<bool> {
        let marks = self.marks();
        if marks.explicit.contains(path) {
            Some(false)
        } else if marks.implied.contains(path) {
            Some(true)
        } else {
            None
        }
    }

    fn mark_explicit(&self, path: &RootedPath) {
        let mut marks = self.marks();
        marks.implied.remove(path);
        marks.explicit.insert(path.clone());
    }

    fn mark_implied(&self, path: &RootedPath) {
        let mut marks = self.marks();
        marks.explicit.remove(path);
        marks.implied.insert(path.clone());
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.0.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the object for the directory `path` that others have, if they do.
    fn known(&self, path: &RootedPath) -> Option<WriteDir> {
        self.dirs().get(path).and_then(Weak::upgrade).map(WriteDir)
    }

    /// Returns the one object for the directory that was `found`: this one, unless others have another.
    /// `None` if they had one, copied the directory up and let go of it since, so that it must be looked
    /// for again.
    fn intern(&self, found: WriteDir) -> Result<Option<WriteDir>, SnapshotError> {
        let mut dirs = self.dirs();
        if let Some(known) = dirs.get(found.path()).and_then(Weak::upgrade) {
            return Ok(Some(WriteDir(known)));
        }
        if !found.is_current()? {
            return Ok(None);
        }
        dirs.insert(found.path().clone(), Arc::downgrade(&found.0));
        Ok(Some(found))
    }

    /// Forgets the directory `path` if nobody has it open.
    fn drop_unused(&self, path: &RootedPath) {
        let mut dirs = self.dirs();
        // Somebody else may have opened it again meanwhile.
        if dirs.get(path).is_some_and(|dir| dir.strong_count() == 0) {
            dirs.remove(path);
        }
    }

    /// Says whether somebody may hold the directory `path`, or one below it, which holds it too.
    fn knows(&self, path: &RootedPath) -> bool {
        self.dirs().contains_key(path)
    }

    /// Forgets the directories at and below `path`, which was removed.
    fn forget(&self, path: &RootedPath) {
        self.dirs()
            .retain(|known, dir| dir.strong_count() > 0 && !known.starts_with(path));
        let mut marks = self.marks();
        marks.explicit.retain(|known| !known.starts_with(path));
        marks.implied.retain(|known| !known.starts_with(path));
    }

    fn dirs(&self) -> MutexGuard<'_, HashMap<RootedPath, Weak<DirInner>>> {
        self.0.dirs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
