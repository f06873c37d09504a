//! Builds that run, or ended a moment ago, by id (row CSOL-01).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Engine;
use crate::status::StatusLog;

/// How long a build is found after its end.
const LINGER: Duration = Duration::from_secs(10);
/// How long a watcher waits for a build that has not begun (row CSTA-01).
pub(super) const REGISTRATION_WAIT: Duration = Duration::from_secs(6);
/// How long no build runs before the engine counts as quiet: clients run several in a row.
const QUIET: Duration = Duration::from_secs(1);

/// The builds of one engine.
#[derive(Default)]
pub(crate) struct LiveBuilds {
    builds: Mutex<HashMap<String, StatusLog>>,
    /// Told whenever a build begins.
    begun: Notify,
    /// Told whenever a build ends; one who comes late hears of it too.
    ended: Notify,
    running: AtomicUsize,
}

/// A build that is known by its id; dropping this lets it linger, and then be forgotten.
pub(crate) struct Registration {
    builds: Weak<LiveBuilds>,
    id: String,
}

/// A build of that id is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("job ID {0} exists")]
pub(crate) struct DuplicateBuild(String);

impl LiveBuilds {
    /// Makes a build known.
    pub(crate) fn register(
        self: &Arc<Self>,
        id: &str,
        log: StatusLog,
    ) -> Result<Registration, DuplicateBuild> {
        let mut builds = self.builds();
        if builds.contains_key(id) {
            return Err(DuplicateBuild(id.to_owned()));
        }
        builds.insert(id.to_owned(), log);
        drop(builds);
        self.running.fetch_add(1, Ordering::Relaxed);
        self.begun.notify_waiters();
        Ok(Registration {
            builds: Arc::downgrade(self),
            id: id.to_owned(),
        })
    }

    /// Returns the log of a build.
    pub(crate) fn find(&self, id: &str) -> Option<StatusLog> {
        self.builds().get(id).cloned()
    }

    /// Returns the log of a build, waiting up to `limit` for it to begin.
    pub(crate) async fn wait(&self, id: &str, limit: Duration) -> Option<StatusLog> {
        let deadline = Instant::now() + limit;
        loop {
            let mut begun = std::pin::pin!(self.begun.notified());
            begun.as_mut().enable();
            if let Some(log) = self.find(id) {
                return Some(log);
            }
            tokio::time::timeout_at(deadline, begun).await.ok()?;
        }
    }

    /// Waits until a build has ended and none has run for a moment since.
    async fn quiet(&self) {
        loop {
            self.ended.notified().await;
            tokio::time::sleep(QUIET).await;
            if self.running.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }

    fn builds(&self) -> MutexGuard<'_, HashMap<String, StatusLog>> {
        self.builds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Waits until builds have ended and none has run for a moment: time to tidy up. For one waiter.
    pub async fn quiet(&self) {
        self.0.builds.quiet().await;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(builds) = self.builds.upgrade() {
            builds.running.fetch_sub(1, Ordering::Relaxed);
            builds.ended.notify_one();
        }
        let (builds, id) = (Weak::clone(&self.builds), std::mem::take(&mut self.id));
        let forget = async move {
            tokio::time::sleep(LINGER).await;
            if let Some(builds) = builds.upgrade() {
                builds.builds().remove(&id);
            }
        };
        // Without a runtime the process is about to end.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(forget));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> StatusLog {
        StatusLog::empty()
    }

    #[tokio::test(start_paused = true)]
    async fn ids_are_free_again_ten_seconds_after_the_end() {
        let builds = Arc::new(LiveBuilds::default());
        let registration = builds.register("a", log()).expect("free");
        let error = builds.register("a", log()).err().expect("taken");
        assert_eq!(error.to_string(), "job ID a exists");
        drop(registration);
        tokio::time::sleep(LINGER - Duration::from_millis(1)).await;
        assert!(builds.find("a").is_some(), "lingers");
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(builds.find("a").is_none());
        drop(builds.register("a", log()).expect("free again"));
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_comes_a_moment_after_the_last_build() {
        let builds = Arc::new(LiveBuilds::default());
        let first = builds.register("a", log()).expect("free");
        let second = builds.register("b", log()).expect("free");
        let started = Instant::now();
        let waiting = {
            let builds = Arc::clone(&builds);
            tokio::spawn(async move { builds.quiet().await })
        };
        drop(first);
        tokio::time::sleep(5 * QUIET).await;
        assert!(!waiting.is_finished(), "a build runs");
        drop(second);
        waiting.await.expect("waits");
        assert_eq!(started.elapsed(), 6 * QUIET);
    }

    #[tokio::test(start_paused = true)]
    async fn watchers_wait_for_a_build_to_begin() {
        let builds = Arc::new(LiveBuilds::default());
        let waiting = {
            let builds = Arc::clone(&builds);
            tokio::spawn(async move { builds.wait("late", REGISTRATION_WAIT).await.is_some() })
        };
        tokio::time::sleep(Duration::from_secs(5)).await;
        let _registration = builds.register("late", log()).expect("free");
        assert!(waiting.await.expect("waits"));
        let started = Instant::now();
        assert!(builds.wait("never", REGISTRATION_WAIT).await.is_none());
        assert_eq!(started.elapsed(), REGISTRATION_WAIT);
    }
}
