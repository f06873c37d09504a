//! Processes that were started, as those who started them have them.

use std::sync::Arc;

use lamina_types::BlockingError;
use lamina_types::CancelOnDrop;
use tokio::task::JoinError;
use tokio::task::JoinHandle;

use super::Inner;
use crate::ExecError;
use crate::Finished;

/// A process that was started. Dropping it kills the process.
#[must_use = "a process is killed when this is dropped"]
pub struct Process {
    task: JoinHandle<Result<Finished, ExecError>>,
    _abandoned: CancelOnDrop,
}

impl Process {
    pub(crate) fn new(
        task: JoinHandle<Result<Finished, ExecError>>,
        abandoned: CancelOnDrop,
    ) -> Self {
        Self {
            task,
            _abandoned: abandoned,
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// As [`Executor::run`].
    pub async fn wait(self) -> Result<Finished, ExecError> {
        let panicked = |error: JoinError| BlockingError::Panicked(error.to_string());
        self.task
            .await
            .unwrap_or_else(|error| Err(ExecError::Blocking(panicked(error))))
    }
}

/// Counts a process as long as something is left of it.
pub(crate) struct Busy(Arc<Inner>);

impl Busy {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        inner.busy.send_modify(|count| *count += 1);
        Self(Arc::clone(inner))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.send_modify(|count| *count -= 1);
    }
}
