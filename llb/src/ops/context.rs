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

/// Asks the waiting builds' sessions for a secret: what one client does not have, another may
/// (row SES-07).
pub(super) async fn secret(
    context: &OpContext<BuildContext>,
    id: &str,
) -> Result<Option<Vec<u8>>, OpFailure> {
    let (mut missing, mut failed) = (false, None);
    for build in context.builds() {
        match build.session.secret(id).await {
            Ok(Some(secret)) => return Ok(Some(secret)),
            Ok(None) => missing = true,
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if !missing => Err(OpFailure::Session(error)),
        _ => Ok(None),
    }
}
