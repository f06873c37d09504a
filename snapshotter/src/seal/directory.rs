//! Directories on their way to be sealed.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;

use lamina_types::IoContext;
use lamina_types::RootedPath;

use crate::SnapshotError;
use crate::fdio;
use crate::fdio::RawStat;
use crate::tree::Entry;

/// A directory of the upper that is still to be sealed; opened late, since there may be very many.
pub(super) struct Pending {
    pub(super) parent: Arc<Directory>,
    pub(super) name: Vec<u8>,
    pub(super) path: RootedPath,
}

/// A directory of the upper.
pub(super) struct Open {
    pub(super) path: RootedPath,
    pub(super) dir: Arc<OwnedFd>,
    /// The directory that the lower shows at the same path.
    pub(super) below: Option<Entry>,
    /// The lower shows something else there, which the directory replaces.
    pub(super) replaced: bool,
    /// An opaque mark here or above hides `below`.
    pub(super) cut_off: bool,
}

/// A directory that is being sealed.
pub(super) struct Directory {
    pub(super) open: Open,
    /// As it was before anything was changed.
    pub(super) before: RawStat,
    pub(super) names: Vec<Vec<u8>>,
    pub(super) whiteouts: AtomicBool,
    /// Runs of names that are not done yet.
    pub(super) left: AtomicUsize,
}

impl Directory {
    /// Says whether it may be there for something else than itself: for what is inside, or copied up for a
    /// call that failed then, which leaves its time as it was.
    pub(super) fn may_be_implied(&self, below: &Entry) -> bool {
        let is_untouched = self.before.mtime_ns() == below.stat().mtime_ns;
        !self.names.is_empty() || self.open.path.is_root() || is_untouched
    }
}

impl Pending {
    /// Opens it, and finds what the lower has there.
    pub(super) fn open(self) -> Result<Open, SnapshotError> {
        let above = &self.parent.open;
        let dir = fdio::open_dir_readable(&above.dir, &self.name).at(&self.path)?;
        let below = match &above.below {
            Some(below) => below.find_child(&self.name)?,
            None => None,
        };
        let (below, replaced) = match below {
            Some(entry) if !entry.stat().is_dir() => (None, true),
            below => (below, false),
        };
        Ok(Open {
            path: self.path,
            dir: Arc::new(dir),
            below,
            replaced,
            cut_off: above.cut_off,
        })
    }
}
