//! One build: its job in the solver, its references, and the bridges that frontends get.

mod bridge;
mod images;
mod nested;
mod reads;
mod reference;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::OnceLock;

use futures_util::FutureExt as _;
use lamina_proto::pb;
use lamina_session::Session;
use lamina_solver::Event;
use lamina_solver::Job;
use lamina_solver::Solver;
use lamina_solver::StepHandle;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::panic_text;
use tokio::sync::mpsc::UnboundedSender;

use crate::BuildError;
use crate::BuildResult;
use crate::Entitlements;
use crate::Graph;
use crate::Services;
use crate::Snapshot;
use crate::ops::BuildContext;

pub use reference::Reference;

use bridge::FrontendBridge;
use nested::Nested;

/// What a build is started with.
pub struct BuildOptions {
    /// The client's services.
    pub session: Arc<dyn Session>,
    /// What steps may ask of the host.
    pub entitlements: Entitlements,
    /// Where progress goes.
    pub events: UnboundedSender<Event>,
    /// Ends the build.
    pub cancel: CancelToken,
}

/// A build. Clones share it; it ends when the last clone and the last bridge are dropped.
#[derive(Clone)]
pub struct Build(Arc<Inner>);

/// The solver of snapshots; made by [`Build::solver`], shared by all builds.
pub type SnapshotSolver = Solver<Snapshot, BuildContext>;

struct Inner {
    services: Arc<Services>,
    job: Job<Snapshot, BuildContext>,
    context: Arc<BuildContext>,
    entitlements: Entitlements,
    events: UnboundedSender<Event>,
    cancel: CancelToken,
}

impl Build {
    /// Starts a build.
    #[must_use]
    pub fn start(services: &Arc<Services>, solver: &SnapshotSolver, options: BuildOptions) -> Self {
        let context = Arc::new(BuildContext {
            session: options.session,
            nested: OnceLock::new(),
        });
        let inner = Arc::new(Inner {
            services: Arc::clone(services),
            job: solver.job(Arc::clone(&context), options.events.clone()),
            context,
            entitlements: options.entitlements,
            events: options.events,
            cancel: options.cancel,
        });
        let nested = Nested(Arc::downgrade(&inner));
        // A fresh cell: nobody else can have set it.
        drop(inner.context.nested.set(Box::new(nested)));
        Self(inner)
    }

    /// Loads and validates `definition`; runs nothing. An empty one is scratch (row GW-14).
    ///
    /// # Errors
    /// What is wrong with the definition.
    pub fn load(&self, definition: pb::Definition) -> Result<Option<Reference>, BuildError> {
        self.0
            .load(definition)
            .map(|loaded| loaded.map(Reference::new))
    }

    /// Runs the frontend `name` (row CSOL-04).
    ///
    /// # Errors
    /// If there is none of that name, or it fails; a panic of it fails this build and no other.
    pub async fn run_frontend(
        &self,
        name: &str,
        options: BTreeMap<String, String>,
        inputs: BTreeMap<String, pb::Definition>,
    ) -> Result<BuildResult, BuildError> {
        let frontend = self.0.services.frontends.get(name);
        let unknown = || BuildError::new(format!("failed to find frontend: {name}"));
        let frontend = Arc::clone(frontend.ok_or_else(unknown)?);
        let bridge = FrontendBridge::new(self.clone(), options, inputs);
        let result = AssertUnwindSafe(frontend.build(Arc::new(bridge))).catch_unwind();
        let internal = |text| BuildError::new(format!("internal error: {text}"));
        tokio::select! {
            result = result => result.unwrap_or_else(|panic| Err(internal(panic_text(&*panic)))),
            () = self.0.cancel.cancelled() => Err(BuildError::cancelled()),
        }
    }

    /// Runs what `reference` needs and returns its tree. A second call returns the same.
    ///
    /// # Errors
    /// Why a step failed, with the excerpt of the user's file if the definition has one.
    pub async fn evaluate(&self, reference: &Reference) -> Result<Snapshot, BuildError> {
        reference.evaluate(&self.0).await
    }

    /// Shows watchers a step that is no vertex, such as an export (row CSOL-23).
    pub fn step(&self, digest: Digest, name: &str) -> StepHandle {
        self.0.job.step(digest, name)
    }
}

impl Inner {
    fn load(&self, definition: pb::Definition) -> Result<Option<reference::Loaded>, BuildError> {
        if definition.def.is_empty() {
            return Ok(None);
        }
        let platform = self.services.default_platform();
        let graph = Graph::load(&definition, &platform, self.entitlements);
        let graph = graph
            .map_err(|error| BuildError::from(error).with_source_map(definition.source.as_ref()))?;
        Ok(Some(reference::Loaded {
            emptied: graph.emptied_cache_mounts(),
            edge: graph.into_edge(&self.services),
            definition,
        }))
    }

    /// Solves what was loaded.
    async fn solve(&self, loaded: &reference::Loaded) -> Result<Snapshot, BuildError> {
        for (id, seeded) in &loaded.emptied {
            self.services.cache_mounts.empty(id, *seeded);
        }
        let solved = tokio::select! {
            solved = self.job.solve(&loaded.edge) => solved,
            () = self.cancel.cancelled() => return Err(BuildError::cancelled()),
        };
        let source = loaded.definition.source.as_ref();
        solved.map_err(|error| BuildError::from(error).with_source_map(source))
    }
}
