//! Watching builds (rows CSTA-01 to CSTA-14).

use futures_util::stream;
use lamina_proto::control;

use super::REGISTRATION_WAIT;
use crate::Engine;
use crate::Messages;
use crate::status::StatusLog;

/// No build of that id is running or remembered (row ERR-15).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such job {0}")]
pub struct NoSuchBuild(pub String);

impl Engine {
    /// Follows a build from its beginning to its end; a finished one is replayed (rows CSTA-01 to
    /// CSTA-14). Waits a moment for a build that has not begun.
    ///
    /// Dropping the stream does nothing to the build (row NET-17); a watcher that reads slowly slows
    /// nobody.
    ///
    /// # Errors
    /// [`NoSuchBuild`] when the wait is over.
    pub async fn status(&self, id: &str) -> Result<Messages<control::StatusResponse>, NoSuchBuild> {
        let unknown = || NoSuchBuild(id.to_owned());
        let log = match self.find_log(id).await {
            Some(log) => log,
            None => self
                .0
                .builds
                .wait(id, REGISTRATION_WAIT)
                .await
                .ok_or_else(unknown)?,
        };
        let messages = stream::unfold(log.read(), |mut reader| async {
            Some((reader.next().await?, reader))
        });
        Ok(Box::pin(messages))
    }

    /// Returns the log of a build that runs, lingers or is remembered.
    async fn find_log(&self, id: &str) -> Option<StatusLog> {
        if let Some(log) = self.0.builds.find(id) {
            return Some(log);
        }
        let id = id.to_owned();
        self.with_history(move |history| Ok(history.log(&id)))
            .await
            .ok()?
    }
}
