//! Definitions that build ops find, solved in the build that runs the op.

use std::sync::Weak;

use async_trait::async_trait;
use lamina_proto::pb;

use super::Inner;
use crate::BuildError;
use crate::Snapshot;
use crate::ops::NestedSolve;

/// A build, seen from its own steps; weak, since the build owns their context.
pub(super) struct Nested(pub(super) Weak<Inner>);

#[async_trait]
impl NestedSolve for Nested {
    async fn solve(&self, definition: pb::Definition) -> Result<Snapshot, BuildError> {
        let build = self.0.upgrade().ok_or_else(BuildError::cancelled)?;
        match build.load(definition, &[])? {
            Some(loaded) => build.solve(&loaded).await,
            None => Ok(Snapshot::default()),
        }
    }
}
