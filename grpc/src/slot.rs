//! An engine that may still be opening.

use std::fmt;
use std::sync::Arc;

use lamina_engine::Engine;
use tokio::sync::SetOnce;
use tonic::Status;

/// An engine that may still be opening: calls wait for it.
#[derive(Clone, Default)]
pub struct EngineSlot(Arc<SetOnce<Result<Engine, String>>>);

impl EngineSlot {
    /// Ends the wait: with the engine, or with why there is none. Only the first call counts.
    pub fn fill(&self, engine: Result<Engine, String>) {
        if self.0.set(engine).is_err() {
            tracing::debug!("the engine slot was filled before");
        }
    }

    /// Returns the engine, waiting for it.
    ///
    /// # Errors
    /// `Unavailable` with the reason if it could not be opened.
    pub(crate) async fn get(&self) -> Result<&Engine, Status> {
        let opened = self.0.wait().await;
        opened.as_ref().map_err(Status::unavailable)
    }
}

impl fmt::Debug for EngineSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.get() {
            None => "EngineSlot(opening)",
            Some(Ok(_)) => "EngineSlot(open)",
            Some(Err(_)) => "EngineSlot(failed)",
        })
    }
}
