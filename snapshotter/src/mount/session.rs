//! Serving a FUSE mount from threads of this process.
//!
//! The kernel ends a session: when the last descriptor and the last place of the mount are gone, reading
//! the device fails with `ENODEV` and the threads return. So there is nothing to unmount; and when this
//! process dies, its descriptors of the device go, and whoever still waits in the mount gets `ENOTCONN` or
//! `ECONNABORTED`.
//!
//! Written data is at the server by then: the kernel writes dirty pages back when a file is closed and
//! when the last memory mapping of it goes, before the process that did it is reported dead.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use fuser::SessionACL;
use lamina_types::IoContext;

use crate::SnapshotError;
use crate::fuse::OverlayFs;

/// How long the end of a mount may take once all that used it is gone. Usually it takes no
/// millisecond; a busy machine may need to write much back.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long giving up a layer waits for the last writes to it.
const BRIEFLY: Duration = Duration::from_secs(1);

/// Threads that answer, at least: one that copies a large file up must not stop all others.
const LEAST_THREADS: usize = 2;

/// Threads that answer, at most: one step seldom keeps more busy.
const MOST_THREADS: usize = 8;

/// A file system that is being served until its mount is gone. It holds the layers that it shows.
#[derive(Debug)]
pub(crate) struct Session(Arc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    over: Mutex<bool>,
    changed: Condvar,
}

impl Session {
    /// Serves `fs` on `device`, with which a mount was made.
    pub(super) fn start(fs: OverlayFs, device: OwnedFd) -> Result<Self, SnapshotError> {
        let mut config = fuser::Config::default();
        config.acl = SessionACL::All;
        config.n_threads = Some(threads());
        config.clone_fd = true;
        let session = fuser::Session::from_fd(fs, device, SessionACL::All, config);
        let session = session.at("start serving a FUSE mount")?;
        let progress = Arc::new(Progress::default());
        let ended = EndOnDrop(Arc::clone(&progress));
        let serve = move || {
            let _ended = ended;
            if let Err(error) = session.run() {
                tracing::warn!(%error, "a FUSE mount is not served any more");
            }
        };
        let thread = std::thread::Builder::new().name("fuse".to_owned());
        thread.spawn(serve).at("start serving a FUSE mount")?;
        Ok(Self(progress))
    }

    /// Waits until the mount is gone and nothing is written to its layer any more.
    ///
    /// # Errors
    /// [`SnapshotError::MountInUse`] if that takes too long.
    pub(super) fn wait(&self) -> Result<(), SnapshotError> {
        match self.ends_within(PATIENCE) {
            true => Ok(()),
            false => Err(SnapshotError::MountInUse),
        }
    }

    pub(super) fn wait_briefly(&self) {
        if !self.ends_within(BRIEFLY) {
            tracing::warn!("a layer is given up while its mount is in use");
        }
    }

    fn ends_within(&self, time: Duration) -> bool {
        let over = self.0.lock();
        let waited = self.0.changed.wait_timeout_while(over, time, |over| !*over);
        let (over, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *over
    }
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that a session is over, however its thread ends.
struct EndOnDrop(Arc<Progress>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        *self.0.lock() = true;
        self.0.changed.notify_all();
    }
}

fn threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors.clamp(LEAST_THREADS, MOST_THREADS)
}
