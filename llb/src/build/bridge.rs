//! The bridge of one frontend call: the build, with the options and inputs of the call.

use std::collections::BTreeMap;

use async_trait::async_trait;
use lamina_proto::pb;
use lamina_snapshotter::Tree;
use lamina_solver::Event;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::Platform;
use lamina_types::Stat;

use super::Build;
use super::reads;
use crate::Bridge;
use crate::BuildError;
use crate::Reference;
use crate::ResolveImageOptions;
use crate::ResolvedImage;
use crate::Warning;
use crate::caps;

/// What one frontend sees of a build.
pub(super) struct FrontendBridge {
    build: Build,
    options: BTreeMap<String, String>,
    inputs: BTreeMap<String, pb::Definition>,
}

impl FrontendBridge {
    pub(super) fn new(
        build: Build,
        options: BTreeMap<String, String>,
        inputs: BTreeMap<String, pb::Definition>,
    ) -> Self {
        Self {
            build,
            options,
            inputs,
        }
    }

    /// Evaluates `reference` and reads its tree on the pool.
    async fn read<T, F>(&self, reference: &Reference, read: F) -> Result<T, BuildError>
    where
        T: Send + 'static,
        F: FnOnce(&Tree) -> Result<T, BuildError> + Send + 'static,
    {
        let tree = self.build.evaluate(reference).await?.stack().tree();
        let inner = &self.build.0;
        let work = move |_: &CancelToken| read(&tree);
        inner.services.blocking.run(&inner.cancel, work).await
    }
}

#[async_trait]
impl Bridge for FrontendBridge {
    async fn solve(&self, definition: pb::Definition) -> Result<Option<Reference>, BuildError> {
        self.build.load(definition)
    }

    async fn resolve_image_config(
        &self,
        reference: &str,
        options: ResolveImageOptions,
    ) -> Result<ResolvedImage, BuildError> {
        self.build.resolve_image_config(reference, options).await
    }

    async fn read_file(
        &self,
        reference: &Reference,
        path: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Vec<u8>, BuildError> {
        let path = path.to_owned();
        let read = move |tree: &Tree| reads::read_file(tree, &path, range);
        self.read(reference, read).await
    }

    async fn read_dir(
        &self,
        reference: &Reference,
        path: &str,
        include: Option<&str>,
    ) -> Result<Vec<(Vec<u8>, Stat)>, BuildError> {
        let (path, include) = (path.to_owned(), include.map(str::to_owned));
        let read = move |tree: &Tree| reads::read_dir(tree, &path, include.as_deref());
        self.read(reference, read).await
    }

    async fn stat_file(
        &self,
        reference: &Reference,
        path: &str,
    ) -> Result<(Vec<u8>, Stat), BuildError> {
        let path = path.to_owned();
        self.read(reference, move |tree| reads::stat_file(tree, &path))
            .await
    }

    async fn evaluate(&self, reference: &Reference) -> Result<(), BuildError> {
        self.build.evaluate(reference).await.map(drop)
    }

    fn warn(&self, vertex: Digest, warning: Warning) {
        let mut lines = vec![warning.short];
        lines.extend(warning.detail);
        lines.extend((!warning.url.is_empty()).then_some(warning.url));
        let message = lines.join("\n");
        // Nobody listens any more when the build has ended.
        drop(self.build.0.events.send(Event::Warning { vertex, message }));
    }

    fn options(&self) -> &BTreeMap<String, String> {
        &self.options
    }

    fn inputs(&self) -> &BTreeMap<String, pb::Definition> {
        &self.inputs
    }

    fn session_id(&self) -> &str {
        self.build.0.context.session.id()
    }

    fn worker_platforms(&self) -> Vec<Platform> {
        self.build.0.services.platforms.clone()
    }

    fn has_cap(&self, id: &str) -> bool {
        caps::has_cap(id)
    }
}
