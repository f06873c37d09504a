//! What a frontend or client returns, once (row GW-30).

use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use tokio::sync::SetOnce;

/// The place for what is returned.
#[derive(Default)]
pub(super) struct Outcome(SetOnce<Result<BuildResult, BuildError>>);

impl Outcome {
    /// Puts a result or an error there.
    ///
    /// # Errors
    /// If there is one already; it stays.
    pub(super) fn set(&self, outcome: Result<BuildResult, BuildError>) -> Result<(), BuildError> {
        let taken = |_| BuildError::new("gateway result is already set");
        self.0.set(outcome).map_err(taken)
    }

    /// Waits until something was returned.
    pub(super) async fn wait(&self) -> Result<BuildResult, BuildError> {
        self.0.wait().await.clone()
    }

    /// Returns what was returned so far.
    pub(super) fn get(&self) -> Option<Result<BuildResult, BuildError>> {
        self.0.get().cloned()
    }
}
