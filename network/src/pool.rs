//! Namespaces that are ready before a step asks, made and taken down by a thread of its own.
//!
//! ```text
//! Pool::take   ◄── ready ──┐
//!              ──► waiting ─► keeper: make, take down, keep a few ready   (one thread, in the outer
//! Lease::drop  ──► gone ────►                                              namespace)
//! ```
//! The kernel works on one change of devices at a time, so more threads would gain nothing. Steps that
//! wait come first, then steps to come, and last what nobody needs any more.

mod keeper;

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::NetworkError;
use crate::error::Doing;
use keeper::Shared;
use keeper::Waiter;

/// What makes the namespaces of steps. Used by one thread, which is in the outer namespace.
///
/// Dropping it takes down what all namespaces share.
pub(crate) trait Wiring {
    /// Makes a namespace, wired. Given a host name, others may be told it.
    ///
    /// # Errors
    /// Nothing of the namespace is left then.
    fn make(&mut self, hostname: &str) -> Result<Wired, NetworkError>;

    /// Takes one down that no process is in any more.
    ///
    /// # Errors
    /// Whatever is left goes with the namespace, or with the next start.
    fn unmake(&mut self, wired: &Wired) -> Result<(), NetworkError>;

    /// Says whether namespaces differ by host name.
    fn tells_hostname(&self) -> bool;

    /// Says in a few words what it makes.
    fn describe(&self) -> String;
}

/// A namespace and what it is called by who wired it.
pub(crate) struct Wired {
    pub(crate) namespace: OwnedFd,
    /// A device, or an id.
    pub(crate) name: String,
}

/// How many namespaces are to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// So many from the start.
    Always(usize),
    /// So many from the first step on, until no step has come for long.
    InUse(usize),
}

/// Hands out namespaces.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// `None` while being dropped.
    keeper: Option<JoinHandle<()>>,
    tells_hostname: bool,
    description: String,
}

/// A namespace of one step; dropped, it is taken down.
#[must_use = "the namespace is taken down when this is dropped"]
pub(crate) struct Lease {
    /// `None` while being dropped.
    wired: Option<Wired>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.wired.as_ref().map(|wired| wired.name.as_str());
        f.debug_tuple("Lease").field(&name).finish()
    }
}

impl Pool {
    /// Starts the keeper. `begin` is called on its thread, which is in the outer namespace afterwards.
    pub(crate) fn start<W: Wiring + 'static>(
        ready: Ready,
        begin: impl FnOnce() -> Result<W, NetworkError> + Send + 'static,
    ) -> Result<Self, NetworkError> {
        let shared = Arc::new(Shared::new(ready));
        let (tell, told) = mpsc::sync_channel(1);
        let theirs = Arc::clone(&shared);
        let keep = move || match begin() {
            Ok(wiring) => {
                let told = tell.send(Ok((wiring.tells_hostname(), wiring.describe())));
                if told.is_ok() {
                    keeper::keep(&theirs, wiring);
                }
            }
            // Nobody has gone before this is told.
            Err(error) => drop(tell.send(Err(error))),
        };
        let keeper = thread::Builder::new().name("lamina-network".to_owned());
        let keeper = keeper.spawn(keep).doing(|| "start a thread")?;
        let mut pool = Self {
            shared,
            keeper: Some(keeper),
            tells_hostname: false,
            description: String::new(),
        };
        let begun = told.recv().map_err(|_| NetworkError::Stopped)??;
        (pool.tells_hostname, pool.description) = begun;
        Ok(pool)
    }

    /// Says in a few words what the namespaces are.
    pub(crate) fn description(&self) -> &str {
        &self.description
    }

    /// Returns a namespace, at once if one is ready.
    ///
    /// # Errors
    /// If none can be made.
    pub(crate) async fn take(&self, hostname: &str) -> Result<Lease, NetworkError> {
        let told = self.tells_hostname && !hostname.is_empty();
        if let Some(wired) = self.shared.ready_one(told) {
            return Ok(self.shared.lease(wired));
        }
        let (answer, answered) = oneshot::channel();
        let hostname = if told { hostname } else { "" }.to_owned();
        self.shared.wait_for(Waiter { hostname, answer });
        answered.await.unwrap_or(Err(NetworkError::Stopped))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(keeper) = self.keeper.take()
            && keeper.join().is_err()
        {
            tracing::error!("the thread that makes networks panicked");
        }
    }
}

impl AsFd for Lease {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let wired = self.wired.as_ref();
        wired.expect("there until dropped").namespace.as_fd()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(wired) = self.wired.take() {
            self.shared.give_back(wired);
        }
    }
}
