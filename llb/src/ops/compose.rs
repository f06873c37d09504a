//! Merge, diff and passthrough: list operations (section 6.5).

use std::sync::Arc;

use async_trait::async_trait;
use lamina_solver::CacheMap;
use lamina_solver::Op;
use lamina_solver::OpContext;
use lamina_solver::OpError;
use lamina_types::CancelToken;
use lamina_types::Digest;

use super::BuildContext;
use super::OpFailure;
use super::cache_map;
use super::value;
use crate::Services;
use crate::Snapshot;
use crate::model::DiffStep;
use crate::model::MergeStep;
use crate::model::PassthroughStep;

/// Stacks its inputs (row OPS-04).
pub(super) struct MergeOp {
    pub(super) step: MergeStep,
    pub(super) services: Arc<Services>,
}

/// What turns one tree into another (row OPS-06).
pub(super) struct DiffOp {
    pub(super) step: DiffStep,
    pub(super) services: Arc<Services>,
}

/// Its inputs, unchanged (row OPS-08).
pub(super) struct PassthroughOp(pub(super) PassthroughStep);

type Context = OpContext<BuildContext>;

/// These ops name no input by content (row OPS-09), so the solver never asks.
fn no_content_key() -> OpError {
    OpFailure::NoContentKey.shared()
}

#[async_trait]
impl Op<Snapshot, BuildContext> for MergeOp {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OpError> {
        Ok(cache_map(self.step.key, &[]))
    }

    async fn content_digest(&self, _: usize, _: &Snapshot, _: &Context) -> Result<Digest, OpError> {
        Err(no_content_key())
    }

    async fn exec(
        &self,
        inputs: Vec<Snapshot>,
        context: &Context,
    ) -> Result<Vec<Snapshot>, OpError> {
        let operands = self.step.inputs.iter();
        let parts: Vec<Snapshot> = operands.map(|&operand| value(operand, &inputs)).collect();
        let store = self.services.snapshots.clone();
        let work = move |cancel: &CancelToken| Ok(Snapshot::merge(&store, &parts, cancel)?);
        let merged = self.services.blocking.run(&context.cancel, work).await;
        merged.map(|merged| vec![merged]).map_err(OpFailure::shared)
    }

    fn takes_slot(&self) -> bool {
        false
    }
}

#[async_trait]
impl Op<Snapshot, BuildContext> for DiffOp {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OpError> {
        Ok(cache_map(self.step.key, &[]))
    }

    async fn content_digest(&self, _: usize, _: &Snapshot, _: &Context) -> Result<Digest, OpError> {
        Err(no_content_key())
    }

    async fn exec(
        &self,
        inputs: Vec<Snapshot>,
        context: &Context,
    ) -> Result<Vec<Snapshot>, OpError> {
        let lower = value(self.step.lower, &inputs);
        let upper = value(self.step.upper, &inputs);
        let store = self.services.snapshots.clone();
        let work = move |cancel: &CancelToken| Ok(Snapshot::diff(&store, &lower, &upper, cancel)?);
        let diff = self.services.blocking.run(&context.cancel, work).await;
        diff.map(|diff| vec![diff]).map_err(OpFailure::shared)
    }

    fn takes_slot(&self) -> bool {
        false
    }
}

#[async_trait]
impl Op<Snapshot, BuildContext> for PassthroughOp {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OpError> {
        Ok(cache_map(self.0.key, &[]))
    }

    async fn content_digest(&self, _: usize, _: &Snapshot, _: &Context) -> Result<Digest, OpError> {
        Err(no_content_key())
    }

    async fn exec(&self, inputs: Vec<Snapshot>, _: &Context) -> Result<Vec<Snapshot>, OpError> {
        let output = |&input: &usize| inputs.get(input).cloned().unwrap_or_default();
        Ok(self.0.outputs.iter().map(output).collect())
    }

    fn takes_slot(&self) -> bool {
        false
    }
}
