//! The build op: a definition in a file of an input (rows OPS-01 to OPS-03).

use std::io::Read;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_proto::pb;
use lamina_snapshotter::Follow;
use lamina_snapshotter::SnapshotError;
use lamina_solver::CacheMap;
use lamina_solver::Op;
use lamina_solver::OpContext;
use lamina_solver::OpError;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use prost::Message;

use super::BuildContext;
use super::OpFailure;
use super::cache_map;
use crate::Services;
use crate::Snapshot;
use crate::model::BuildStep;

/// Largest definition that is read from a file.
const MAX_BYTES: u64 = 64 << 20;

/// Solves a definition that it reads from its input.
pub(super) struct BuildOp {
    pub(super) step: BuildStep,
    pub(super) services: Arc<Services>,
}

impl BuildOp {
    async fn run(
        &self,
        inputs: Vec<Snapshot>,
        context: &OpContext<BuildContext>,
    ) -> Result<Snapshot, OpFailure> {
        let input = inputs.get(self.step.input).cloned().unwrap_or_default();
        let filename = self.step.filename.clone();
        let work = move |_: &CancelToken| read_definition(&input, &filename);
        let definition = self.services.blocking.run(&context.cancel, work).await?;
        let build = context
            .builds()
            .into_iter()
            .next()
            .ok_or(OpFailure::NoBuild)?;
        let nested = build.nested.get().ok_or(OpFailure::NoBuild)?;
        let solved = nested.solve(definition).await;
        solved.map_err(|error| OpFailure::Nested(Box::new(error)))
    }
}

fn read_definition(input: &Snapshot, filename: &str) -> Result<pb::Definition, OpFailure> {
    let path = RootedPath::new(filename);
    let entry = input.stack().tree().lookup(&path, Follow::Last)?;
    let mut bytes = Vec::new();
    let read = entry.open()?.take(MAX_BYTES).read_to_end(&mut bytes);
    read.at(&path).map_err(SnapshotError::from)?;
    let not_llb = |source| OpFailure::NotLlb {
        path: path.to_string(),
        source,
    };
    pb::Definition::decode(bytes.as_slice()).map_err(not_llb)
}

#[async_trait]
impl Op<Snapshot, BuildContext> for BuildOp {
    async fn cache_map(&self, _: &OpContext<BuildContext>) -> Result<CacheMap, OpError> {
        Ok(cache_map(self.step.key, &[]))
    }

    async fn content_digest(
        &self,
        _: usize,
        _: &Snapshot,
        _: &OpContext<BuildContext>,
    ) -> Result<Digest, OpError> {
        Err(OpFailure::NoContentKey.shared())
    }

    async fn exec(
        &self,
        inputs: Vec<Snapshot>,
        context: &OpContext<BuildContext>,
    ) -> Result<Vec<Snapshot>, OpError> {
        let result = self.run(inputs, context).await;
        result.map(|result| vec![result]).map_err(OpFailure::shared)
    }

    fn takes_slot(&self) -> bool {
        false
    }
}
