//! Cancellation that work checks and waiting can await.

use tokio_util::sync::CancellationToken;

/// Tells work to stop; clones share one state, children stop with their parent.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(CancellationToken);

/// Cancels its token when dropped, so that work ends with whoever waits for it.
#[derive(Debug)]
#[must_use = "the token is cancelled when this is dropped"]
pub struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The work was stopped because nobody waits for it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("context canceled")]
pub struct Cancelled;

impl CancelToken {
    /// Returns a token that nothing has cancelled yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a token that is cancelled with this one, and can be cancelled alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Returns a guard that cancels this token when it is dropped.
    pub fn cancel_on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }

    /// Tells all holders to stop.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Says whether the work should stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns an error once cancelled; for loops, once per file and per MiB.
    ///
    /// # Errors
    /// [`Cancelled`] if the work should stop.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }

    /// Waits until cancelled.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }
}
