//! What a build brings along when its steps run.

use std::sync::Arc;
use std::sync::OnceLock;

use async_trait::async_trait;
use lamina_proto::pb;
use lamina_session::Session;
use lamina_solver::OpContext;

use super::OpFailure;
use super::clients::ask_each;
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

/// Returns a secret of a client of the waiting builds; `None` if the client that was asked first
/// says that it has none, and no other has it either.
pub(super) async fn secret(
    context: &OpContext<BuildContext>,
    id: &str,
) -> Result<Option<Vec<u8>>, OpFailure> {
    let asked = ask_each(context.builds(), |build| async move {
        let secret = build.session.secret(id).await?;
        secret.ok_or_else(|| OpFailure::NoSecret(id.to_owned()))
    });
    match asked.await {
        Ok(secret) => Ok(Some(secret)),
        Err(OpFailure::NoSecret(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}
