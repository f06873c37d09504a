//! Which client is asked, and for how long.

use std::sync::Arc;

use lamina_session::SESSION_WAIT;
use lamina_session::Session;
use lamina_session::SessionManager;
use lamina_types::CancelToken;
use lamina_types::Cancelled;

use crate::SourceContext;
use crate::SourceError;

/// Returns the session that a source names, or the build's own if it names none or that one does
/// not come (row SRC-09).
pub(crate) async fn session_of(
    sessions: &SessionManager,
    id: Option<&str>,
    context: &SourceContext,
) -> Arc<dyn Session> {
    let Some(id) = id.filter(|id| *id != context.session.id()) else {
        return Arc::clone(&context.session);
    };
    match sessions.wait(id, SESSION_WAIT).await {
        Ok(session) => session,
        Err(error) => {
            tracing::debug!(%error, "asking the build's own session instead");
            Arc::clone(&context.session)
        }
    }
}

/// Runs `work` until it ends or the token is cancelled.
pub(crate) async fn until_cancelled<T>(
    cancel: &CancelToken,
    work: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Cancelled.into()),
        result = work => result,
    }
}
