//! The engine: everything that builds share, wired over one state folder.

use std::sync::Arc;

use lamina_content::ContentStore;
use lamina_executor::Executor;
use lamina_executor::ExecutorOptions;
use lamina_executor::userns;
use lamina_executor::userns::IdMapping;
use lamina_llb::CacheMounts;
use lamina_llb::Entitlements;
use lamina_llb::MakeRoom;
use lamina_llb::Services;
use lamina_llb::SnapshotResults;
use lamina_llb::SnapshotSolver;
use lamina_llb::WorkerInfo;
use lamina_network::Networks;
use lamina_registry::RegistryClient;
use lamina_session::SessionManager;
use lamina_snapshotter::Chosen;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::StoreFormat;
use lamina_snapshotter::XattrNamespace;
use lamina_solver::RedbCache;
use lamina_solver::Solver;
use lamina_solver::SolverOptions;
use lamina_sources::SourceConfig;
use lamina_sources::Sources;
use lamina_types::Blocking;
use redb::Database;

use crate::EngineOptions;
use crate::ErrorEncoder;
use crate::OpenError;
use crate::StepLogLimits;
use crate::Version;
use crate::builds::LiveBuilds;
use crate::builds::RunningBuilds;
use crate::database;
use crate::flusher::Flusher;
use crate::history::History;
use crate::history::HistoryBlobs;
use crate::limits;
use crate::mounts;
use crate::networks;
use crate::options::plain_status;
use crate::platforms::Platforms;
use crate::state::State;
use crate::usage::NotedResults;
use crate::usage::Stores as KeptStores;
use crate::usage::Usage;
use crate::worker;

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
    pub(crate) builds: Arc<LiveBuilds>,
    pub(crate) running: Arc<RunningBuilds>,
    pub(crate) history: Arc<History>,
    pub(crate) usage: Usage,
    pub(crate) flusher: Arc<Flusher>,
    pub(crate) version: Version,
    pub(crate) step_log: StepLogLimits,
    pub(crate) encode_error: ErrorEncoder,
    pub(crate) mounts: Chosen,
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
        let stores = Stores::open(&options, &state, namespace)?;
        let inner = Inner::new(options, state, stores)?;
        // Steps come from the executor's process, which has started: their limits stay the user's.
        limits::raise_open_files();
        Ok(Self(Arc::new(inner)))
    }

    /// Returns the clients that are connected.
    #[must_use]
    pub fn sessions(&self) -> &SessionManager {
        &self.0.services.sessions
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
    database: Arc<Database>,
    cache_mounts: CacheMounts,
}

impl Stores {
    fn open(
        options: &EngineOptions,
        state: &State,
        namespace: XattrNamespace,
    ) -> Result<Self, OpenError> {
        let registry = RegistryClient::new(options.registries.clone());
        let layers = state.folder("layers")?;
        let trial = state.root.join("trial");
        let format = StoreFormat {
            xattrs: namespace,
            owners: mounts::owners(options.snapshotter, &layers, &trial),
        };
        Ok(Self {
            snapshots: SnapshotStore::open(&layers, format)?,
            content: ContentStore::open(&state.folder("content")?)?,
            registry: registry.map_err(|error| OpenError::Registry(Box::new(error)))?,
            database: Arc::new(database::open(&state.root)?),
            cache_mounts: CacheMounts::open(&state.folder("cache-mounts")?)?,
        })
    }
}

impl Inner {
    /// Wires everything over the stores.
    fn new(mut options: EngineOptions, state: State, stores: Stores) -> Result<Self, OpenError> {
        let cache = Arc::new(RedbCache::new(Arc::clone(&stores.database)));
        let flusher = Arc::new(Flusher::new(stores.snapshots.clone()));
        let blocking = Blocking::new(parallelism(0)).map_err(OpenError::Threads)?;
        let sources = sources(&options, &state, &stores, &blocking)?;
        let kept = kept(&stores, &cache, &sources);
        let results = NotedResults {
            results: SnapshotResults::new(stores.snapshots.clone()),
            uses: Arc::clone(&kept.uses),
            flusher: Arc::clone(&flusher),
        };
        let blobs = HistoryBlobs::open(&state.folder("history")?)?;
        let history = History::new(Arc::clone(&stores.database), blobs, options.history.clone());
        let encode_error = options.encode_error.take();
        let mounts = mounts::choose(options.snapshotter, &stores.snapshots)?;
        let networks = networks::start(&options.network, &state)?;
        let worker = worker::describe(state.worker_id()?, &options, &mounts, &networks);
        let usage = Usage::new(kept, &options.gc);
        Ok(Self {
            solver: solver(&cache, results, options.max_parallelism),
            cache,
            content: stores.content.clone(),
            registry: stores.registry.clone(),
            entitlements: options.entitlements.clone(),
            builds: Arc::default(),
            running: Arc::default(),
            flusher,
            version: options.version.clone(),
            step_log: options.step_log,
            encode_error: encode_error.unwrap_or_else(|| Arc::new(plain_status)),
            history: Arc::new(history),
            services: {
                let room = Arc::new(usage.evictor(blocking.clone()));
                let executor = executor(&options, &state, &stores, &mounts, networks, &blocking)?;
                let running = (executor, sources, blocking);
                Arc::new(services(options, stores, worker, running, room))
            },
            usage,
            mounts,
            _state: state,
        })
    }
}

/// Returns what takes space.
fn kept(stores: &Stores, cache: &Arc<RedbCache>, sources: &Sources) -> KeptStores {
    KeptStores {
        snapshots: stores.snapshots.clone(),
        content: stores.content.clone(),
        cache: Arc::clone(cache),
        cache_mounts: stores.cache_mounts.clone(),
        repositories: sources.repositories(),
        uses: Usage::uses(Arc::clone(&stores.database)),
        builds: Arc::default(),
    }
}

/// Makes a solver whose results are layers, and which notes the use of them.
fn solver(cache: &Arc<RedbCache>, results: NotedResults, max_parallelism: usize) -> SnapshotSolver {
    let slots = parallelism(max_parallelism);
    Solver::new(
        Arc::clone(cache) as _,
        Arc::new(results),
        SolverOptions { slots },
    )
}

fn services(
    options: EngineOptions,
    stores: Stores,
    worker: WorkerInfo,
    (executor, sources, blocking): (Executor, Sources, Blocking),
    room: Arc<dyn MakeRoom>,
) -> Services {
    let platforms = Platforms::new(&options.platforms, options.platforms_max_age);
    Services {
        sources,
        snapshots: stores.snapshots,
        executor,
        devices: options.devices,
        cache_mounts: stores.cache_mounts,
        room,
        blocking,
        emulator: Platforms::emulator,
        platforms: Box::new(move || platforms.now()),
        worker,
        sessions: options.sessions,
        frontends: options.frontends,
    }
}

fn sources(
    options: &EngineOptions,
    state: &State,
    stores: &Stores,
    blocking: &Blocking,
) -> Result<Sources, OpenError> {
    Ok(Sources::new(SourceConfig {
        layers: stores.snapshots.clone(),
        content: stores.content.clone(),
        registry: stores.registry.clone(),
        blocking: blocking.clone(),
        sessions: options.sessions.clone(),
        state: state.folder("sources")?,
    }))
}

fn executor(
    options: &EngineOptions,
    state: &State,
    stores: &Stores,
    mounts: &Chosen,
    networks: Networks,
    blocking: &Blocking,
) -> Result<Executor, OpenError> {
    Ok(Executor::start(ExecutorOptions {
        runtime: options.runtime.clone(),
        mounter: Arc::clone(&mounts.mounter),
        store: stores.snapshots.clone(),
        blocking: blocking.clone(),
        program: options.program.clone(),
        run_dir: state.run_dir.clone(),
        dns: options.dns.clone(),
        cgroup_parent: options.cgroup_parent.clone(),
        max_processes: options.max_processes,
        networks,
    })?)
}

fn parallelism(wanted: usize) -> usize {
    if wanted > 0 {
        return wanted;
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors.max(LEAST_PARALLELISM)
}
