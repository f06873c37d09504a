//! How an engine is set up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lamina_executor::CdiDevices;
use lamina_executor::DnsConfig;
use lamina_executor::ProcessLimit;
use lamina_executor::RuntimeKind;
use lamina_llb::BuildError;
use lamina_llb::Entitlements;
use lamina_llb::Frontend;
use lamina_network::NetworkOptions;
use lamina_proto::rpc;
use lamina_registry::RegistryConfig;
use lamina_session::SessionManager;
use lamina_types::Platform;

use crate::StepLogLimits;
use crate::networks;

/// What makes the mounts that processes see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotterKind {
    /// The kernel's overlayfs, or FUSE where that does not work.
    #[default]
    Auto,
    /// The kernel's overlayfs; an error if it does not work here.
    Overlay,
    /// Our own overlay over FUSE; an error if it does not work here.
    Fuse,
    /// A copy of the whole tree for every step.
    Copy,
}

/// What a daemon says it is (row CTL-01).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The product.
    pub package: String,
    /// `vX.Y.Z`, as clients compare it.
    pub version: String,
    /// The commit, if known.
    pub revision: String,
    /// The version of Dockerfiles that the built-in frontend understands, without a `v`.
    pub dockerfile: String,
}

/// What garbage collection keeps (rows CFG-07, CFG-08).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcOptions {
    /// Whether anything is collected by itself after builds.
    pub enabled: bool,
    /// In order; empty = the default set.
    pub policies: Vec<GcPolicy>,
}

/// One rule of garbage collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcPolicy {
    /// Also internal and frontend records.
    pub all: bool,
    /// What it is about; empty = everything.
    pub filters: Vec<String>,
    /// What was used more recently is kept.
    pub keep_duration: Duration,
    /// Bytes that are never collected.
    pub reserved_space: u64,
    /// Bytes that the cache may take; 0 = any.
    pub max_used_space: u64,
    /// Bytes that are to stay free on the disk.
    pub min_free_space: u64,
}

/// Which finished builds are remembered (rows CFG-05, CTL-24).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryOptions {
    /// Younger ones are kept.
    pub max_age: Duration,
    /// The newest so many are kept.
    pub max_entries: usize,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(48 * 3600),
            max_entries: 50,
        }
    }
}

/// Turns errors of builds into statuses with their details (rows NET-10, CTL-21).
pub type ErrorEncoder = Arc<dyn Fn(&BuildError) -> rpc::Status + Send + Sync>;

/// How an engine is set up. [`EngineOptions::new`] fills in what most callers want.
pub struct EngineOptions {
    /// The state folder.
    pub root: PathBuf,
    /// A folder for what must not outlive the process, best in memory. May be shared by engines.
    pub run_dir: PathBuf,
    /// What makes the mounts.
    pub snapshotter: SnapshotterKind,
    /// What makes sandboxes.
    pub runtime: RuntimeKind,
    /// What steps without a platform are for, then what else can be run. The host's platform alone
    /// means: and whatever else is found to run here.
    pub platforms: Vec<Platform>,
    /// How long it is believed what else was found to run here (row CTL-05).
    pub platforms_max_age: Duration,
    /// The program that calls `lamina_executor::runtime_main` when told so by its first argument.
    pub program: PathBuf,
    /// What builds may ask of the host at all.
    pub entitlements: Entitlements,
    /// Frontends by name.
    pub frontends: BTreeMap<String, Arc<dyn Frontend>>,
    /// Clients that are connected, also before the engine is there.
    pub sessions: SessionManager,
    /// What the engine says it is.
    pub version: Version,
    /// Further labels of the worker (row CTL-04).
    pub labels: BTreeMap<String, String>,
    /// What is kept.
    pub gc: GcOptions,
    /// Which finished builds are remembered.
    pub history: HistoryOptions,
    /// How much of a step's output is shown and kept (row CSTA-11).
    pub step_log: StepLogLimits,
    /// Turns the error of a build into what the history stores; only the wire's own crate knows all
    /// details. Without it, a status of code and text alone is stored.
    pub encode_error: Option<ErrorEncoder>,
    /// How registries are reached.
    pub registries: RegistryConfig,
    /// How many steps run at once; 0 = as many as there are processors, but at least four.
    pub max_parallelism: usize,
    /// What steps know of name servers.
    pub dns: DnsConfig,
    /// Where devices of the host are described.
    pub devices: CdiDevices,
    /// The parent of the control groups of steps that name none; empty for the executor's own.
    pub cgroup_parent: String,
    /// How many processes and threads a step may have.
    pub max_processes: ProcessLimit,
    /// Where steps are that ask for no network in particular (rows EXC-29, CFG-09). The state
    /// directory is the engine's business.
    pub network: NetworkOptions,
    /// Called once if another process has the state folder, before waiting for it.
    pub on_wait: Option<Box<dyn FnOnce() + Send>>,
}

impl EngineOptions {
    /// Returns the usual set-up over the state folder `root`: this program, its own sandbox, the
    /// host's platform, no frontends and no entitlements.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, run_dir: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            run_dir: run_dir.into(),
            snapshotter: SnapshotterKind::default(),
            runtime: RuntimeKind::Builtin,
            platforms: vec![Platform::host()],
            platforms_max_age: Duration::from_secs(60),
            program: PathBuf::from("/proc/self/exe"),
            entitlements: Entitlements::default(),
            frontends: BTreeMap::new(),
            sessions: SessionManager::default(),
            version: Version::default(),
            labels: BTreeMap::new(),
            gc: GcOptions::default(),
            history: HistoryOptions::default(),
            step_log: StepLogLimits::default().or_environment(),
            encode_error: None,
            registries: RegistryConfig::default(),
            max_parallelism: 0,
            dns: DnsConfig::default(),
            devices: CdiDevices {
                dirs: CdiDevices::usual_dirs(),
                auto_allowed: Vec::new(),
            },
            cgroup_parent: String::new(),
            max_processes: ProcessLimit::default(),
            network: networks::options_from_environment(),
            on_wait: None,
        }
    }
}

/// Returns the status of an error without its details; numbers are gRPC's.
pub(crate) fn plain_status(error: &BuildError) -> rpc::Status {
    const CANCELLED: i32 = 1;
    const UNKNOWN: i32 = 2;
    let code = if error.cancelled { CANCELLED } else { UNKNOWN };
    rpc::Status {
        code: error.code.unwrap_or(code),
        message: error.message.clone(),
        details: Vec::new(),
    }
}
