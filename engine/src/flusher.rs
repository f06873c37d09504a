//! Getting layers onto the disk while builds go on ([why](../../docs/design/0009-durability.md)).
//!
//! A step that ends wakes one thread. It waits a moment for more to end, has the store flush
//! everything, and sleeps again. So a burst of steps costs one flush, an idle engine none, and nobody
//! waits for it but the end of the process.

use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;

use lamina_snapshotter::SnapshotStore;
use tokio::sync::oneshot;

/// How long layers gather for a flush. A flush writes what others wait with, too, and files of running
/// steps that will be gone in a moment; a loss of power that takes five seconds more is as rare.
const GATHER: Duration = Duration::from_secs(5);

/// Flushes a store in the background.
pub(crate) struct Flusher {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    snapshots: SnapshotStore,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// Layers came since the last flush began.
    due: bool,
    /// Told when everything that was there before is on disk; do not let layers gather.
    waiting: Vec<oneshot::Sender<()>>,
    closed: bool,
}

impl Flusher {
    pub(crate) fn new(snapshots: SnapshotStore) -> Self {
        Self {
            shared: Arc::new(Shared {
                snapshots,
                state: Mutex::default(),
                wake: Condvar::new(),
            }),
            thread: Mutex::default(),
        }
    }

    /// Says that there may be new layers.
    pub(crate) fn layers_came(&self) {
        self.tell(|state| state.due = true);
    }

    /// Waits until all layers that there are now are on disk, or cannot be brought there.
    pub(crate) async fn flush(&self) {
        if self.shared.snapshots.unflushed() == 0 {
            return;
        }
        let (done, flushed) = oneshot::channel();
        self.tell(|state| state.waiting.push(done));
        // Without a thread nobody answers; then layers are good until the machine stops.
        drop(flushed.await);
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        if self.start_thread() {
            change(&mut self.shared.state());
            self.shared.wake.notify_one();
        }
    }

    /// Starts the thread with the first layer; says whether it runs.
    fn start_thread(&self) -> bool {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return true;
        }
        let shared = Arc::clone(&self.shared);
        let builder = std::thread::Builder::new().name("layer-flusher".to_owned());
        match builder.spawn(move || shared.flush_until_closed()) {
            Ok(handle) => *thread = Some(handle),
            Err(error) => tracing::warn!(%error, "layers cannot be flushed"),
        }
        thread.is_some()
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.wake.notify_one();
        let thread = self.thread.get_mut();
        if let Some(thread) = thread.unwrap_or_else(PoisonError::into_inner).take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that flushes layers panicked");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_until_closed(&self) {
        while let Some(waiting) = self.next() {
            if let Err(error) = self.snapshots.flush() {
                tracing::warn!(%error, "layers are not on disk yet");
            }
            for done in waiting {
                // Who asked may have gone.
                _ = done.send(());
            }
        }
    }

    /// Waits for something to flush; returns who waits for it, `None` at the end.
    fn next(&self) -> Option<Vec<oneshot::Sender<()>>> {
        let idle = |state: &mut State| !state.due && state.waiting.is_empty() && !state.closed;
        let state = self.wake.wait_while(self.state(), idle);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let gathering = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let (mut state, _) = self
            .wake
            .wait_timeout_while(state, GATHER, gathering)
            .unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        state.due = false;
        Some(std::mem::take(&mut state.waiting))
    }
}
