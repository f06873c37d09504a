//! The sessions that are connected, by id (rows SES-05 to SES-08).
//!
//! A client calls `Control.Session`, and inside that stream of bytes the daemon is the one who
//! calls: [`SessionManager::attach`] opens HTTP/2 over the tunnel and keeps the session known until
//! the tunnel ends or the client stops answering. A build that names a session may well come first
//! (row CSOL-08), so builds hold a [lazy](SessionManager::lazy) one that is looked up when it is
//! first needed.
//!
//! ```
//! use std::sync::Arc;
//! use lamina_session::LocalSession;
//! use lamina_session::Session;
//! use lamina_session::SessionManager;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let manager = SessionManager::default();
//! let client = Arc::new(LocalSession::builder().secret_bytes("token", "x").build());
//! let session = manager.lazy(client.id());
//! let guard = manager.register(client);
//! assert!(session.secret("token").await.unwrap().is_some());
//! drop(guard);
//! # });
//! ```

mod health;
mod lazy;
mod tunnel;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use lamina_types::CancelToken;
use tokio::sync::watch;

use crate::Duplex;
use crate::Session;
use crate::SessionError;
use crate::remote::RemoteSession;

pub use tunnel::CONNECTION_WINDOW_BYTES;
pub use tunnel::STREAM_WINDOW_BYTES;

/// How long a build waits for its client's session (rows CSOL-08, SES-06).
pub const SESSION_WAIT: Duration = Duration::from_secs(5);

/// What a client says of itself when it connects (row SES-03).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionInfo {
    /// Unique.
    pub id: String,
    /// For people.
    pub name: String,
    /// Equal for one client's sessions.
    pub shared_key: String,
    /// Paths of the methods that it offers; case does not matter (row SES-04).
    pub methods: Vec<String>,
    /// How long a health check may take, if the client says so (row SES-05).
    pub health_timeout: Option<Duration>,
}

/// The sessions that are connected. Clones share them.
#[derive(Clone, Default)]
pub struct SessionManager(Arc<Shared>);

#[derive(Default)]
struct Shared {
    sessions: Mutex<HashMap<String, Arc<dyn Session>>>,
    /// Told of every session that comes.
    arrivals: watch::Sender<()>,
}

impl SessionManager {
    /// Registers the client at the other end of `tunnel`, who serves HTTP/2 there, and watches its
    /// health until it ends (rows SES-01, SES-05).
    ///
    /// Dropping the future ends the session. Whatever waits for the client then fails with
    /// [`SessionError::Remote`], `gone` (row SES-08).
    ///
    /// # Errors
    /// [`SessionError::Duplicate`] if the id is connected already; why it ended, if not by itself.
    pub async fn attach(
        &self,
        info: SessionInfo,
        tunnel: Box<dyn Duplex>,
    ) -> Result<(), SessionError> {
        let timeout = info.health_timeout;
        let ended = Ended(CancelToken::new());
        let (channel, closed) = tunnel::connect(tunnel, ended.0.clone()).await?;
        let session = RemoteSession::new(info, channel.clone(), ended.0.clone());
        let id = session.id().to_owned();
        let _known = self.insert(Arc::new(session))?;
        tracing::debug!(session = id, "session started");
        let outcome = tokio::select! {
            _ = closed => Ok(()),
            error = health::watch(channel, timeout) => Err(error),
        };
        tracing::debug!(session = id, ?outcome, "session finished");
        outcome
    }

    /// Makes a session of this process known, until the guard is dropped. It replaces another one
    /// of the same id.
    pub fn register(&self, session: Arc<dyn Session>) -> SessionGuard {
        let id = session.id().to_owned();
        self.sessions().insert(id.clone(), Arc::clone(&session));
        self.announce(id, session)
    }

    /// Returns a session, waiting up to `limit` for it to connect; `prefix:id` is `id` (row SES-06).
    ///
    /// # Errors
    /// [`SessionError::NotConnected`] when the time is over.
    pub async fn wait(&self, id: &str, limit: Duration) -> Result<Arc<dyn Session>, SessionError> {
        let id = without_prefix(id);
        let not_connected = |_| SessionError::NotConnected { id: id.to_owned() };
        tokio::time::timeout(limit, self.arrival(id))
            .await
            .map_err(not_connected)
    }

    /// Returns a session that need not be connected yet: its first use waits [`SESSION_WAIT`]. An
    /// empty id is a session that offers nothing.
    #[must_use]
    pub fn lazy(&self, id: &str) -> Arc<dyn Session> {
        if id.is_empty() {
            Arc::new(lazy::NoSession)
        } else {
            Arc::new(lazy::LazySession::new(self.clone(), id))
        }
    }

    async fn arrival(&self, id: &str) -> Arc<dyn Session> {
        let mut arrivals = self.0.arrivals.subscribe();
        loop {
            if let Some(session) = self.sessions().get(id) {
                return Arc::clone(session);
            }
            // The sender is in `self`, so it lives.
            drop(arrivals.changed().await);
        }
    }

    fn insert(&self, session: Arc<dyn Session>) -> Result<SessionGuard, SessionError> {
        let id = session.id().to_owned();
        {
            let mut sessions = self.sessions();
            if sessions.contains_key(&id) {
                return Err(SessionError::Duplicate { id });
            }
            sessions.insert(id.clone(), Arc::clone(&session));
        }
        Ok(self.announce(id, session))
    }

    fn announce(&self, id: String, session: Arc<dyn Session>) -> SessionGuard {
        self.0.arrivals.send_replace(());
        SessionGuard {
            manager: self.clone(),
            id,
            session,
        }
    }

    /// No code panics while it holds the lock.
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<dyn Session>>> {
        let sessions = self.0.sessions.lock();
        sessions.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps vertices of different contexts apart; what comes after it finds the session.
fn without_prefix(id: &str) -> &str {
    match id.split_once(':') {
        Some((_, rest)) if !rest.is_empty() => rest,
        _ => id,
    }
}

/// Tells all who wait for the client that it is gone.
struct Ended(CancelToken);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Keeps a session known.
#[must_use = "the session is forgotten when this is dropped"]
pub struct SessionGuard {
    manager: SessionManager,
    id: String,
    session: Arc<dyn Session>,
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let mut sessions = self.manager.sessions();
        let current = sessions.get(&self.id);
        if current.is_some_and(|current| Arc::ptr_eq(current, &self.session)) {
            sessions.remove(&self.id);
        }
    }
}

impl fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions = self.sessions();
        f.debug_list().entries(sessions.keys()).finish()
    }
}

impl fmt::Debug for SessionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionGuard").field(&self.id).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_no_part_of_the_id() {
        for (given, wanted) in [
            ("abc", "abc"),
            ("name:abc", "abc"),
            ("a:b:c", "b:c"),
            ("abc:", "abc:"),
            (":abc", "abc"),
            ("", ""),
        ] {
            assert_eq!(without_prefix(given), wanted, "{given}");
        }
    }
}
