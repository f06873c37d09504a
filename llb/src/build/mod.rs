//! One build: its job in the solver, its references, and the bridges that frontends get.

mod bridge;
mod cache;
mod containers;
mod frontends;
mod images;
mod imports;
mod nested;
mod programs;
pub(crate) mod reads;
mod reference;
mod views;

use std::sync::Arc;
use std::sync::OnceLock;

use lamina_proto::pb;
use lamina_proto::sourcepolicy::Policy;
use lamina_session::Session;
use lamina_solver::EventSender;
use lamina_solver::Job;
use lamina_solver::Solver;
use lamina_solver::StepHandle;
use lamina_types::CancelToken;
use lamina_types::Digest;

use crate::BuildError;
use crate::Entitlements;
use crate::Graph;
use crate::Services;
use crate::Snapshot;
use crate::ops::BuildContext;
use crate::policy;

pub use reference::Reference;

use imports::Imports;
use nested::Nested;
use views::Views;

/// What a build is started with.
pub struct BuildOptions {
    /// The client's services.
    pub session: Arc<dyn Session>,
    /// What steps may ask of the host.
    pub entitlements: Entitlements,
    /// Where progress goes.
    pub events: EventSender,
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
    events: EventSender,
    cancel: CancelToken,
    /// Set once, before anything is loaded.
    policies: OnceLock<Arc<[Policy]>>,
    /// What frontends are reading.
    views: Views,
    imports: Imports,
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
            job: solver.job_with(Arc::clone(&context), options.events.clone()),
            context,
            entitlements: options.entitlements,
            events: options.events,
            cancel: options.cancel,
            policies: OnceLock::new(),
            views: Views::default(),
            imports: Imports::default(),
        });
        let nested = Nested(Arc::downgrade(&inner));
        // A fresh cell: nobody else can have set it.
        drop(inner.context.nested.set(Box::new(nested)));
        Self(inner)
    }

    /// Puts the build's sources under `policies` (row CSOL-16). To be called before anything is
    /// loaded; only the first call counts.
    ///
    /// # Errors
    /// If a rule does not say what it is about.
    pub fn set_policies(&self, policies: Vec<Policy>) -> Result<(), BuildError> {
        check_policies(&policies)?;
        drop(self.0.policies.set(policies.into()));
        Ok(())
    }

    /// Loads and validates `definition`; runs nothing. An empty one is scratch (row GW-14).
    ///
    /// # Errors
    /// What is wrong with the definition.
    pub fn load(&self, definition: pb::Definition) -> Result<Option<Reference>, BuildError> {
        self.load_under(definition, &[])
    }

    /// The same under further rules on sources (row GW-21).
    fn load_under(
        &self,
        definition: pb::Definition,
        policies: &[Policy],
    ) -> Result<Option<Reference>, BuildError> {
        let loaded = self.0.load(definition, policies)?;
        Ok(loaded.map(Reference::new))
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

/// Refuses rules that make no sense, in words of their own: no source is to blame.
fn check_policies(policies: &[Policy]) -> Result<(), BuildError> {
    policy::check(policies).map_err(|error| BuildError::new(error.to_string()))
}

impl Inner {
    /// The build's own rules, then `further` ones (row POL-06).
    fn policies<'a>(&'a self, further: &'a [Policy]) -> Vec<&'a Policy> {
        let own = self.policies.get().map(|own| &**own).unwrap_or_default();
        own.iter().chain(further).collect()
    }

    fn load(
        &self,
        definition: pb::Definition,
        policies: &[Policy],
    ) -> Result<Option<reference::Loaded>, BuildError> {
        if definition.def.is_empty() {
            return Ok(None);
        }
        let definition = policy::rewrite(definition, &self.policies(policies))?;
        let platform = self.services.default_platform();
        let graph = Graph::load(&definition, &platform, &self.entitlements);
        let graph = graph.and_then(|mut graph| {
            graph.give_devices(&self.services.devices, &self.entitlements)?;
            Ok(graph)
        });
        let graph = graph.map_err(|error| BuildError::refused(&error, &definition))?;
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
        solved.map_err(|error| BuildError::from(error).with_definition(&loaded.definition))
    }
}
