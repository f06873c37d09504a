//! The engine: everything that builds share, wired over one state folder.

use std::sync::Arc;

use lamina_content::ContentStore;
use lamina_executor::Executor;
use lamina_executor::ExecutorOptions;
use lamina_executor::userns;
use lamina_executor::userns::IdMapping;
use lamina_llb::CacheMounts;
use lamina_llb::Entitlements;
use lamina_llb::Services;
use lamina_llb::SnapshotResults;
use lamina_llb::SnapshotSolver;
use lamina_registry::RegistryClient;
use lamina_snapshotter::KernelOverlay;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::XattrNamespace;
use lamina_solver::RedbCache;
use lamina_solver::Solver;
use lamina_solver::SolverOptions;
use lamina_sources::SourceConfig;
use lamina_sources::Sources;
use lamina_types::Blocking;

use crate::EngineOptions;
use crate::OpenError;
use crate::SnapshotterKind;
use crate::state::State;

/// Builds things. Clones share it; the state folder is free again when the last clone and the
/// last build are dropped.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

/// Fields are dropped in this order: what works first, what is worked on last, the lock at the end.
pub(crate) struct Inner {
    pub(crate) solver: SnapshotSolver,
    pub(crate) cache: Arc<RedbCache>,
    pub(crate) services: Arc<Services>,
    pub(crate) content: ContentStore,
    pub(crate) registry: RegistryClient,
    pub(crate) entitlements: Entitlements,
    _state: State,
}

/// Steps that run at once on small machines: many wait for the network rather than a processor.
const LEAST_PARALLELISM: usize = 4;

impl Engine {
    /// Opens the state folder, making it if it does not exist, and starts what steps need.
    ///
    /// Waits if another process has the folder. What a killed process left unfinished is removed.
    ///
    /// # Errors
    /// [`OpenError`]; nothing keeps running.
    pub async fn open(options: EngineOptions) -> Result<Self, OpenError> {
        let namespace = match userns::mapping() {
            IdMapping::Root => XattrNamespace::Trusted,
            IdMapping::Subordinate { .. } | IdMapping::Single => XattrNamespace::User,
        };
        let mut options = options;
        let on_wait = options.on_wait.take();
        let state = State::open(&options.root, &options.run_dir, namespace, on_wait).await?;
        let snapshots = SnapshotStore::open(&state.folder("layers")?, namespace)?;
        let content = ContentStore::open(&state.folder("content")?)?;
        let registry = RegistryClient::new(options.registries.clone())
            .map_err(|error| OpenError::Registry(Box::new(error)))?;
        let cache = Arc::new(RedbCache::new(Arc::new(state.database()?)));
        let slots = parallelism(options.max_parallelism);
        let entitlements = options.entitlements;
        let stores = Stores {
            snapshots: snapshots.clone(),
            content: content.clone(),
            registry: registry.clone(),
        };
        let services = services(options, &state, stores)?;
        let results = Arc::new(SnapshotResults::new(snapshots));
        let solver = Solver::new(Arc::clone(&cache) as _, results, SolverOptions { slots });
        Ok(Self(Arc::new(Inner {
            solver,
            cache,
            services: Arc::new(services),
            content,
            registry,
            entitlements,
            _state: state,
        })))
    }

    /// Returns the layers.
    #[must_use]
    pub fn snapshots(&self) -> &SnapshotStore {
        &self.0.services.snapshots
    }
}

/// What is kept on disk or elsewhere.
struct Stores {
    snapshots: SnapshotStore,
    content: ContentStore,
    registry: RegistryClient,
}

fn services(options: EngineOptions, state: &State, stores: Stores) -> Result<Services, OpenError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let blocking = Blocking::new(threads.max(LEAST_PARALLELISM)).map_err(OpenError::Threads)?;
    // Both kinds mean the kernel's overlayfs as long as it is the only one; `Auto` differs when
    // there is something to fall back to.
    let mounter = match options.snapshotter {
        SnapshotterKind::Auto | SnapshotterKind::Overlay => {
            KernelOverlay::probe(&stores.snapshots)?
        }
    };
    let executor = Executor::start(ExecutorOptions {
        runtime: options.runtime,
        mounter: Arc::new(mounter),
        store: stores.snapshots.clone(),
        blocking: blocking.clone(),
        program: options.program,
        run_dir: state.run_dir.clone(),
    })?;
    let sources = Sources::new(SourceConfig {
        layers: stores.snapshots.clone(),
        content: stores.content,
        registry: stores.registry,
        blocking: blocking.clone(),
        state: state.folder("sources")?,
    });
    Ok(Services {
        sources,
        snapshots: stores.snapshots,
        executor,
        cache_mounts: CacheMounts::open(&state.folder("cache-mounts")?)?,
        blocking,
        platforms: options.platforms,
        frontends: options.frontends,
    })
}

fn parallelism(wanted: usize) -> usize {
    if wanted > 0 {
        return wanted;
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors.max(LEAST_PARALLELISM)
}
