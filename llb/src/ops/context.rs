//! What a build brings along when its steps run.

use std::sync::Arc;
use std::sync::OnceLock;

use async_trait::async_trait;
use lamina_proto::pb;
use lamina_session::Session;
use lamina_solver::OpContext;

use super::OpFailure;
use crate::BuildError;
use crate::Snapshot;

/// A build, as far as its steps may use it; nobody else can look inside.
pub struct BuildContext {
    pub(crate) session: Arc<dyn Session>,
    /// Set once, when the build is complete; weak, since the build owns this.
    pub(crate) nested: OnceLock<Box<dyn NestedSolve>>,
}

/// Solves definitions within a build.
#[async_trait]
pub(crate) trait NestedSolve: Send + Sync {
    async fn solve(&self, definition: pb::Definition) -> Result<Snapshot, BuildError>;
}

/// Asks the waiting builds' sessions for a secret, one after the other (row SES-07).
pub(super) async fn secret(
    context: &OpContext<BuildContext>,
    id: &str,
) -> Result<Option<Vec<u8>>, OpFailure> {
    for build in context.builds() {
        let secret = build.session.secret(id).await;
        if let Some(secret) = secret.map_err(OpFailure::Session)? {
            return Ok(Some(secret));
        }
    }
    Ok(None)
}
