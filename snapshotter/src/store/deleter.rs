//! Deleting what has no name any more, in the background.
//!
//! Removing a layer is one rename; emptying its folder may take seconds, and nobody should wait for
//! that. One thread does it, started when there is something to do and gone when there is not. What a
//! process leaves behind is found by its name when the store is opened next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread::JoinHandle;

use super::StorePlace;
use crate::remove;

/// Deletes folders of the store by their names; waits for the last when dropped.
pub(super) struct Deleter(Arc<Shared>);

struct Shared {
    place: Arc<StorePlace>,
    work: Mutex<Work>,
    done: Condvar,
}

#[derive(Default)]
struct Work {
    names: VecDeque<String>,
    /// Somebody takes names from the list.
    running: bool,
    /// The thread that does or did.
    thread: Option<JoinHandle<()>>,
}

impl Deleter {
    pub(super) fn new(place: Arc<StorePlace>) -> Self {
        Self(Arc::new(Shared {
            place,
            work: Mutex::default(),
            done: Condvar::new(),
        }))
    }

    /// Takes names that nothing looks for any more.
    pub(super) fn delete(&self, names: impl IntoIterator<Item = String>) {
        let mut work = self.0.work();
        work.names.extend(names);
        if work.names.is_empty() || work.running {
            return;
        }
        work.running = true;
        let shared = Arc::clone(&self.0);
        let builder = std::thread::Builder::new().name("layer-deleter".to_owned());
        match builder.spawn(move || shared.run()) {
            Ok(thread) => work.thread = Some(thread),
            Err(error) => {
                drop(work);
                tracing::debug!(%error, "deleting layers without a thread");
                self.0.run();
            }
        }
    }

    /// Waits until everything is deleted.
    pub(super) fn wait(&self) {
        let running = |work: &mut Work| work.running;
        drop(self.0.done.wait_while(self.0.work(), running));
    }
}

impl Drop for Deleter {
    fn drop(&mut self) {
        let thread = self.0.work().thread.take();
        // It holds the folder as long as it lives.
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that deletes layers panicked");
        }
    }
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while let Some(name) = self.next() {
            if let Err(error) = remove::remove_tree(&self.place.dir, name.as_bytes()) {
                tracing::warn!(name, %error, "a layer could not be deleted");
            }
        }
        self.done.notify_all();
    }

    fn next(&self) -> Option<String> {
        let mut work = self.work();
        let next = work.names.pop_front();
        work.running = next.is_some();
        next
    }
}
