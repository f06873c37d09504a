//! The source op: something from outside the graph (section 6.3).
//!
//! What can be named before it is here, such as an image by its digest, is keyed by that name and
//! brought in only if a step needs it. A client's directory has no such name: it is transferred
//! first and keyed by its content, so that every step on an unchanged directory is found again,
//! also those that do not read it by content (row SRC-15).

use std::sync::Arc;

use async_trait::async_trait;
use lamina_snapshotter::Selection;
use lamina_solver::CacheMap;
use lamina_solver::Op;
use lamina_solver::OpContext;
use lamina_solver::OpError;
use lamina_sources::Pinned;
use lamina_sources::SourceContext;
use lamina_sources::SourceError;
use lamina_sources::SourceRequest;
use lamina_types::CancelToken;
use lamina_types::Digest;
use tokio::sync::OnceCell;

use super::BuildContext;
use super::OpFailure;
use super::cache_map;
use super::clients::ask_each;
use crate::Services;
use crate::Snapshot;
use crate::key::KeyHasher;
use crate::model::SourceStep;

/// Identifiers of directories of the client.
const LOCAL_SCHEME: &str = "local://";

/// Brings a tree in.
pub(super) struct SourceOp {
    step: SourceStep,
    services: Arc<Services>,
    /// What the source is, found out once for key and tree alike.
    pinned: OnceCell<Pinned>,
    /// The tree, once it is here.
    tree: OnceCell<Snapshot>,
}

type Context = OpContext<BuildContext>;

impl SourceOp {
    pub(super) fn new(step: SourceStep, services: Arc<Services>) -> Self {
        Self {
            step,
            services,
            pinned: OnceCell::new(),
            tree: OnceCell::new(),
        }
    }

    async fn pinned(&self, context: &Context) -> Result<&Pinned, OpFailure> {
        let request = SourceRequest {
            identifier: self.step.identifier.clone(),
            attrs: self.step.attrs.clone(),
            platform: Some(self.step.platform.clone()),
        };
        let (sources, request) = (&self.services.sources, &request);
        let resolve = || {
            ask_each(source_contexts(context), |source| async move {
                Ok(sources.resolve(request, &source).await?)
            })
        };
        self.pinned.get_or_try_init(resolve).await
    }

    async fn key(&self, context: &Context) -> Result<CacheMap, OpFailure> {
        let pinned = self.pinned(context).await?;
        let key = if pinned.key_is_content {
            KeyHasher::new("source").field(pinned.cache_key.as_bytes())
        } else {
            let content = self.content(context).await?;
            KeyHasher::new("source content").field(content.as_bytes())
        };
        Ok(cache_map(key.finish(), &[]))
    }

    /// The digest of the whole tree.
    async fn content(&self, context: &Context) -> Result<Digest, OpFailure> {
        let tree = self.tree(context).await?.clone();
        let whole = Selection {
            path: b"/".to_vec(),
            ..Selection::default()
        };
        let work = move |cancel: &CancelToken| Ok(tree.stack().digest(&whole, cancel)?);
        self.services.blocking.run(&context.cancel, work).await
    }

    async fn tree(&self, context: &Context) -> Result<&Snapshot, OpFailure> {
        let pinned = self.pinned(context).await?;
        let sources = &self.services.sources;
        let fetch = || {
            ask_each(source_contexts(context), |source| async move {
                Ok(sources.snapshot(pinned, &source).await?.into())
            })
        };
        self.tree.get_or_try_init(fetch).await
    }
}

/// For whom a source may work: each of the builds that wait (row SES-07).
fn source_contexts(context: &Context) -> Vec<SourceContext> {
    let source = |build: Arc<BuildContext>| SourceContext {
        session: Arc::clone(&build.session),
        progress: context.progress.clone(),
        cancel: context.cancel.clone(),
    };
    context.builds().into_iter().map(source).collect()
}

impl From<SourceError> for OpFailure {
    fn from(error: SourceError) -> Self {
        if error.is_cancelled() {
            return Self::Cancelled(lamina_types::Cancelled);
        }
        Self::Source(Box::new(error))
    }
}

#[async_trait]
impl Op<Snapshot, BuildContext> for SourceOp {
    async fn cache_map(&self, context: &Context) -> Result<CacheMap, OpError> {
        self.key(context).await.map_err(OpFailure::shared)
    }

    async fn content_digest(&self, _: usize, _: &Snapshot, _: &Context) -> Result<Digest, OpError> {
        Err(OpFailure::NoContentKey.shared())
    }

    async fn exec(&self, _: Vec<Snapshot>, context: &Context) -> Result<Vec<Snapshot>, OpError> {
        let tree = self.tree(context).await;
        tree.map(|tree| vec![tree.clone()])
            .map_err(OpFailure::shared)
    }

    fn takes_slot(&self) -> bool {
        false
    }

    /// A directory is transferred anyway to get its key, and the fresh tree has the right times.
    fn is_recorded(&self) -> bool {
        !self.step.identifier.starts_with(LOCAL_SCHEME)
    }
}
