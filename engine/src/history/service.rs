//! What clients may do with the history.

use std::sync::Arc;

use lamina_proto::control;
use lamina_types::CancelToken;

use super::History;
use super::HistoryError;
use crate::Engine;
use crate::Messages;

impl Engine {
    /// Lists and follows builds (rows CTL-15 to CTL-20). The stream ends only if the request says so,
    /// or if the listener is far behind.
    ///
    /// # Errors
    /// [`HistoryError`] if the request makes no sense or the build is being deleted.
    pub async fn listen_history(
        &self,
        request: &control::BuildHistoryRequest,
    ) -> Result<Messages<control::BuildHistoryEvent>, HistoryError> {
        let request = request.clone();
        let listen = move |history: &Arc<History>| history.listen(&request);
        Ok(Box::pin(self.with_history(listen).await?))
    }

    /// Pins, deletes or finalises a record (rows CTL-25 to CTL-27). There is nothing to wait for when
    /// finalising: a record is complete when its build returns.
    ///
    /// # Errors
    /// [`HistoryError`] if there is no such record.
    pub async fn update_history(
        &self,
        request: &control::UpdateBuildHistoryRequest,
    ) -> Result<(), HistoryError> {
        let request = request.clone();
        self.with_history(move |history| {
            if request.delete {
                history.delete(&request.r#ref)
            } else if request.finalize {
                Ok(())
            } else {
                history.pin(&request.r#ref, request.pinned)
            }
        })
        .await
    }

    /// Runs work on the history where it may block.
    pub(crate) async fn with_history<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<History>) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let history = Arc::clone(&self.0.history);
        let blocking = &self.0.services.blocking;
        blocking
            .run(&CancelToken::new(), move |_| work(&history))
            .await
    }
}
