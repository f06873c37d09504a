//! All that a build works on, over a temporary folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_content::ContentStore;
use lamina_executor::CdiDevices;
use lamina_executor::Executor;
use lamina_executor::ExecutorOptions;
use lamina_executor::RuntimeKind;
use lamina_executor::userns;
use lamina_executor::userns::IdMapping;
use lamina_llb::Build;
use lamina_llb::BuildError;
use lamina_llb::BuildOptions;
use lamina_llb::CacheMounts;
use lamina_llb::Entitlements;
use lamina_llb::Frontend;
use lamina_llb::MakeRoom;
use lamina_llb::Reference;
use lamina_llb::Room;
use lamina_llb::Services;
use lamina_llb::SnapshotResults;
use lamina_llb::SnapshotSolver;
use lamina_llb::WorkerInfo;
use lamina_proto::pb;
use lamina_registry::RegistryClient;
use lamina_registry::RegistryConfig;
use lamina_session::LocalSession;
use lamina_session::Session;
use lamina_session::SessionManager;
use lamina_snapshotter::KernelOverlay;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::XattrNamespace;
use lamina_solver::Event;
use lamina_solver::MemoryCache;
use lamina_solver::Solver;
use lamina_solver::SolverOptions;
use lamina_sources::SourceConfig;
use lamina_sources::Sources;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use lamina_types::Platform;
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::unbounded_channel;

use crate::harness::Outcome;

/// Nothing can be removed.
struct NoRoom;

#[async_trait]
impl MakeRoom for NoRoom {
    async fn make_room(&self) -> Room {
        Room::default()
    }
}

/// What steps need; builds are started on it.
pub(crate) struct World {
    pub(crate) services: Arc<Services>,
    pub(crate) solver: SnapshotSolver,
    pub(crate) dir: TempDir,
}

/// Runs `test` in a world; skips it where there can be none.
pub(crate) fn with<F: Future<Output = ()>>(
    frontends: BTreeMap<String, Arc<dyn Frontend>>,
    test: impl FnOnce(World) -> F,
) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        match World::new(frontends) {
            Ok(world) => {
                test(world).await;
                Outcome::Passed
            }
            Err(reason) => Outcome::Skipped(reason),
        }
    })
}

impl World {
    fn new(frontends: BTreeMap<String, Arc<dyn Frontend>>) -> Result<Self, String> {
        if !std::path::Path::new(crate::graph::BUSYBOX).exists() {
            return Err("no static busybox".to_owned());
        }
        let dir = tempfile::Builder::new()
            .prefix("lamina-llb-")
            .tempdir()
            .expect("a folder");
        let namespace = match userns::mapping() {
            IdMapping::Root => XattrNamespace::Trusted,
            _ => XattrNamespace::User,
        };
        let folder = |name: &str| dir.path().join(name);
        let layers = SnapshotStore::open(&folder("layers"), namespace).expect("opens");
        let blocking = Blocking::new(4).expect("threads");
        let mounter = KernelOverlay::probe(&layers).map_err(|error| error.to_string())?;
        let executor = Executor::start(ExecutorOptions {
            max_processes: Default::default(),
            runtime: RuntimeKind::Builtin,
            mounter: Arc::new(mounter),
            store: layers.clone(),
            blocking: blocking.clone(),
            program: PathBuf::from("/proc/self/exe"),
            dns: Default::default(),
            networks: Default::default(),
            run_dir: folder("run"),
            cgroup_parent: String::new(),
        });
        let sessions = SessionManager::default();
        let sources = Sources::new(SourceConfig {
            layers: layers.clone(),
            content: ContentStore::open(&folder("content")).expect("opens"),
            registry: RegistryClient::new(RegistryConfig::default()).expect("a client"),
            blocking: blocking.clone(),
            sessions: sessions.clone(),
            state: folder("sources"),
        });
        let results = Arc::new(SnapshotResults::new(layers.clone()));
        let services = Services {
            sources,
            executor: executor.map_err(|error| error.to_string())?,
            devices: CdiDevices {
                dirs: vec![folder("cdi")],
                auto_allowed: vec!["vendor.com/free".to_owned()],
            },
            cache_mounts: CacheMounts::open(&folder("cache-mounts")).expect("opens"),
            snapshots: layers,
            room: Arc::new(NoRoom),
            blocking,
            worker: WorkerInfo::default(),
            sessions,
            platforms: Box::new(|| vec![Platform::host()]),
            emulator: |_| None,
            frontends,
        };
        let options = SolverOptions { slots: 4 };
        Ok(Self {
            services: Arc::new(services),
            solver: Solver::new(Arc::new(MemoryCache::default()), results, options),
            dir,
        })
    }

    /// Starts a build of `session`; its events come out at the other end.
    pub(crate) fn build(&self, session: Arc<dyn Session>) -> (Build, UnboundedReceiver<Event>) {
        let (events, watcher) = unbounded_channel();
        let options = BuildOptions {
            session,
            entitlements: Entitlements::default(),
            events: events.into(),
            cancel: CancelToken::new(),
        };
        (Build::start(&self.services, &self.solver, options), watcher)
    }

    /// Starts a build of a client that offers nothing.
    pub(crate) fn plain_build(&self) -> Build {
        self.build(Arc::new(LocalSession::builder().build())).0
    }
}

/// Loads and runs.
pub(crate) async fn solve(
    build: &Build,
    definition: pb::Definition,
) -> Result<Option<Reference>, BuildError> {
    let reference = build.load(definition)?;
    if let Some(reference) = &reference {
        build.evaluate(reference).await?;
    }
    Ok(reference)
}
