//! Directories that steps share across builds (rows EXC-20 to EXC-24).
//!
//! ```text
//! cache-mounts/<n>/key    the mount's id and what seeded it, as JSON
//!             /<n>/fs/    what steps see
//!             /<n>/uses   when and how often, as JSON; may be missing
//!             /tmp-<n>    being made or removed; swept at start
//! ```
//!
//! The number `n` is ours: the id, which is any text a client sends, never becomes a path. Several
//! directories may have one key, because `private` users must not see each other. A directory is
//! on disk under its number only when it is complete, so a crash leaves nothing half made.

mod disk;
mod pool;
mod usage;
mod waiting;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use lamina_exporters::ExportError;
use lamina_snapshotter::LayerStack;
use lamina_types::Blocking;
use lamina_types::BlockingError;
use lamina_types::CancelToken;
use lamina_types::Cancelled;
use lamina_types::LayerId;
use lamina_types::PathError;
use lamina_types::Progress;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::Notify;

use crate::model::CacheSharing;
use disk::Disk;
use pool::Pool;
use pool::Taken;
use waiting::Waiting;

pub use usage::CacheMountUsage;
pub use usage::Uses;

/// A cache directory could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheMountError {
    /// The directory could not be made, opened or read.
    #[error("cache mount: {0}")]
    Io(#[from] PathError),
    /// The tree that seeds it could not be written.
    #[error("cache mount: {0}")]
    Seed(#[from] ExportError),
    /// Nobody waits for it any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The work that makes it failed.
    #[error(transparent)]
    Blocking(#[from] BlockingError),
}

/// What a cache directory is found by: the id, and the tree that seeded it, if any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct CacheKey {
    pub(crate) id: String,
    pub(crate) seed: Option<Vec<LayerId>>,
}

/// The cache directories of a state folder. Clones share them.
#[derive(Clone)]
pub struct CacheMounts(Arc<Inner>);

struct Inner {
    disk: Disk,
    pool: Mutex<Pool>,
    /// Told whenever a directory becomes free or complete.
    changed: Notify,
}

/// A cache directory in use; released when dropped.
pub(crate) struct CacheDir {
    mounts: Arc<Inner>,
    number: u64,
}

impl CacheMounts {
    /// Opens (making it if needed) the folder `dir` and removes what an earlier process left
    /// half made.
    ///
    /// # Errors
    /// If the folder cannot be made or read. A directory with an unreadable key is removed.
    pub fn open(dir: &Path) -> Result<Self, CacheMountError> {
        let (disk, found) = Disk::open(dir)?;
        Ok(Self(Arc::new(Inner {
            disk,
            pool: Mutex::new(Pool::new(found)),
            changed: Notify::new(),
        })))
    }

    /// Returns a directory for `key`, waiting if `sharing` says so and all are in use; `progress` is
    /// told of that.
    pub(crate) async fn acquire(
        &self,
        key: &CacheKey,
        sharing: CacheSharing,
        seed: &LayerStack,
        blocking: &Blocking,
        (progress, cancel): (&Progress, &CancelToken),
    ) -> Result<CacheDir, CacheMountError> {
        let mut waiting = Waiting::new(&key.id, progress);
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            let taken = self.0.pool().take(key, sharing);
            match taken {
                Taken::Existing(number) => return Ok(self.0.guard(number)),
                Taken::New(number) => return self.make(number, key, seed, blocking, cancel).await,
                Taken::Busy => {
                    waiting.show();
                    tokio::select! {
                        () = changed => {}
                        () = cancel.cancelled() => return Err(Cancelled.into()),
                    }
                }
            }
        }
    }

    async fn make(
        &self,
        number: u64,
        key: &CacheKey,
        seed: &LayerStack,
        blocking: &Blocking,
        cancel: &CancelToken,
    ) -> Result<CacheDir, CacheMountError> {
        // From here on dropping the guard forgets the directory again.
        let guard = self.0.guard(number);
        let (inner, key, seed) = (Arc::clone(&self.0), key.clone(), seed.clone());
        let work = move |cancel: &CancelToken| inner.disk.make(number, &key, &seed, cancel);
        blocking.run::<_, CacheMountError, _>(cancel, work).await?;
        self.0.pool().complete(number);
        self.0.changed.notify_waiters();
        Ok(guard)
    }

    /// Forgets the directories with the id `id`, seeded or not; those in use go away when their
    /// last user is done, and nobody gets them until then (row LLB-07).
    pub(crate) fn empty(&self, id: &str, seeded: bool) {
        let free = self.0.pool().doom(id, seeded);
        for number in free {
            self.0.disk.remove(number);
        }
    }
}

impl Inner {
    fn pool(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn guard(self: &Arc<Self>, number: u64) -> CacheDir {
        CacheDir {
            mounts: Arc::clone(self),
            number,
        }
    }
}

impl CacheDir {
    /// Opens the directory.
    pub(crate) fn open(&self) -> Result<OwnedFd, CacheMountError> {
        Ok(self.mounts.disk.open_dir(self.number)?)
    }
}

impl Drop for CacheDir {
    fn drop(&mut self) {
        let mut pool = self.mounts.pool();
        let remove = pool.release(self.number);
        let uses = pool.uses(self.number);
        drop(pool);
        if remove {
            self.mounts.disk.remove(self.number);
        } else if let Some(uses) = uses {
            self.mounts.disk.write_uses(self.number, &uses);
        }
        self.mounts.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
