//! The bridge of one frontend call: the build, with the options and inputs of the call.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_proto::pb;
use lamina_proto::sourcepolicy::Policy;
use lamina_snapshotter::Tree;
use lamina_solver::Event;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::Platform;
use lamina_types::Stat;

use super::Build;
use super::check_policies;
use super::frontends::Call;
use super::reads;
use super::views::Memo;
use super::views::View;
use super::views::Weigh;
use crate::Bridge;
use crate::BuildError;
use crate::BuildResult;
use crate::Container;
use crate::ContainerRequest;
use crate::FrontendProcess;
use crate::FrontendRequest;
use crate::Reference;
use crate::ResolveImageOptions;
use crate::ResolveSourceRequest;
use crate::ResolvedImage;
use crate::ResolvedSource;
use crate::RunningProcess;
use crate::SolveOptions;
use crate::Warning;
use crate::WorkerInfo;
use crate::caps;

/// What one frontend sees of a build.
pub(super) struct FrontendBridge {
    build: Build,
    call: Call,
}

impl FrontendBridge {
    pub(super) fn new(build: Build, call: Call) -> Self {
        Self { build, call }
    }

    /// The rules of this call and `more`, which are of one request (row POL-06).
    fn policies(&self, more: Vec<Policy>) -> Result<Arc<[Policy]>, BuildError> {
        if more.is_empty() {
            return Ok(Arc::clone(&self.call.policies));
        }
        check_policies(&more)?;
        Ok(self.call.policies.iter().cloned().chain(more).collect())
    }

    /// Evaluates `reference` and answers `question` about its tree: at once if the answer is known,
    /// else on the pool.
    async fn read<K, T>(
        &self,
        reference: &Reference,
        memo: fn(&View) -> &Memo<K, T>,
        question: K,
        read: fn(&Tree, &K) -> Result<T, BuildError>,
    ) -> Result<T, BuildError>
    where
        K: Eq + Hash + Weigh + Send + 'static,
        T: Clone + Weigh + Send + 'static,
    {
        let inner = &self.build.0;
        let snapshot = self.build.evaluate(reference).await?;
        let view = inner.views.of(reference, &snapshot);
        if let Some(answer) = memo(&view).get(&question) {
            return Ok(answer);
        }
        let work = move |_: &CancelToken| {
            let answer = read(&view.tree, &question)?;
            memo(&view).put(question, &answer);
            Ok(answer)
        };
        inner.services.blocking.run(&inner.cancel, work).await
    }
}

#[async_trait]
impl Bridge for FrontendBridge {
    async fn solve(&self, definition: pb::Definition) -> Result<Option<Reference>, BuildError> {
        self.solve_with(definition, SolveOptions::default()).await
    }

    async fn resolve_image_config(
        &self,
        reference: &str,
        mut options: ResolveImageOptions,
    ) -> Result<ResolvedImage, BuildError> {
        let policies = self.policies(std::mem::take(&mut options.policies))?;
        let resolved = self
            .build
            .resolve_image_config(reference, options, &policies);
        resolved.await
    }

    async fn read_file(
        &self,
        reference: &Reference,
        path: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Vec<u8>, BuildError> {
        let question = (path.to_owned(), range);
        self.read(
            reference,
            |view| &view.files,
            question,
            |tree, (path, range)| reads::read_file(tree, path, *range),
        )
        .await
    }

    async fn read_dir(
        &self,
        reference: &Reference,
        path: &str,
        include: Option<&str>,
    ) -> Result<Vec<(Vec<u8>, Stat)>, BuildError> {
        let question = (path.to_owned(), include.map(str::to_owned));
        self.read(
            reference,
            |view| &view.dirs,
            question,
            |tree, (path, include)| reads::read_dir(tree, path, include.as_deref()),
        )
        .await
    }

    async fn stat_file(
        &self,
        reference: &Reference,
        path: &str,
    ) -> Result<(Vec<u8>, Stat), BuildError> {
        let question = path.to_owned();
        self.read(
            reference,
            |view| &view.stats,
            question,
            |tree, path| reads::stat_file(tree, path),
        )
        .await
    }

    async fn solve_with(
        &self,
        definition: pb::Definition,
        options: SolveOptions,
    ) -> Result<Option<Reference>, BuildError> {
        let policies = self.policies(options.policies)?;
        self.build.import_more(&options.cache_imports).await;
        self.build.load_under(definition, &policies)
    }

    async fn run_frontend(&self, request: FrontendRequest) -> Result<BuildResult, BuildError> {
        self.build.import_more(&request.solve.cache_imports).await;
        let call = Call {
            options: request.options,
            inputs: request.inputs,
            policies: self.policies(request.solve.policies)?,
            depth: self.call.depth + 1,
        };
        self.build.call_named(&request.name, call).await
    }

    async fn resolve_source(
        &self,
        mut request: ResolveSourceRequest,
    ) -> Result<ResolvedSource, BuildError> {
        let policies = self.policies(std::mem::take(&mut request.policies))?;
        self.build.resolve_source(request, &policies).await
    }

    async fn spawn(&self, process: FrontendProcess) -> Result<RunningProcess, BuildError> {
        self.build.spawn(process).await
    }

    async fn new_container(&self, request: ContainerRequest) -> Result<Container, BuildError> {
        self.build.new_container(request).await
    }

    async fn evaluate(&self, reference: &Reference) -> Result<(), BuildError> {
        self.build.evaluate(reference).await.map(drop)
    }

    fn warn(&self, vertex: Digest, warning: Warning) {
        let warning = warning.into_event();
        // Nobody listens any more when the build has ended.
        self.build.0.events.send(Event::Warning { vertex, warning });
    }

    fn options(&self) -> &BTreeMap<String, String> {
        &self.call.options
    }

    fn inputs(&self) -> &BTreeMap<String, pb::Definition> {
        &self.call.inputs
    }

    fn session_id(&self) -> &str {
        self.build.0.context.session.id()
    }

    fn worker_platforms(&self) -> Vec<Platform> {
        (self.build.0.services.platforms)()
    }

    fn worker(&self) -> &WorkerInfo {
        &self.build.0.services.worker
    }

    fn has_cap(&self, id: &str) -> bool {
        caps::has_cap(id)
    }
}
