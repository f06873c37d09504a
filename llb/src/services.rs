//! What ops need of the engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lamina_executor::CdiDevices;
use lamina_executor::Executor;
use lamina_session::SessionManager;
use lamina_snapshotter::SnapshotStore;
use lamina_sources::Sources;
use lamina_types::Blocking;
use lamina_types::Platform;

use crate::CacheMounts;
use crate::Frontend;
use crate::MakeRoom;
use crate::WorkerInfo;

/// The parts of the engine that all builds share. Made once, by the engine.
pub struct Services {
    /// Layers.
    pub snapshots: SnapshotStore,
    /// Images, layouts and directories.
    pub sources: Sources,
    /// Runs processes.
    pub executor: Executor,
    /// Devices of the host that steps may name.
    pub devices: CdiDevices,
    /// Directories that outlive builds.
    pub cache_mounts: CacheMounts,
    /// Makes room on a full disk.
    pub room: Arc<dyn MakeRoom>,
    /// The door to work on files.
    pub blocking: Blocking,
    /// What clients are told of all this.
    pub worker: WorkerInfo,
    /// Clients that are connected: steps may ask for the services of another than their own.
    pub sessions: SessionManager,
    /// Returns what ops without a platform are for, then what else can be run now (rows CTL-05,
    /// GW-01): emulators come and go while the engine runs.
    pub platforms: Box<dyn Fn() -> Vec<Platform> + Send + Sync>,
    /// Returns the program of the host that runs those of a platform, if steps have to be given it
    /// (row EXC-38).
    pub emulator: fn(&Platform) -> Option<PathBuf>,
    /// Frontends by name (row CSOL-04).
    pub frontends: BTreeMap<String, Arc<dyn Frontend>>,
}

impl Services {
    /// Returns the platform of ops that name none.
    #[must_use]
    pub fn default_platform(&self) -> Platform {
        let platforms = (self.platforms)();
        platforms.into_iter().next().unwrap_or_else(Platform::host)
    }
}
