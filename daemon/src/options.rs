//! How an engine is set up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lamina_executor::RuntimeKind;
use lamina_frontend::DockerfileFrontend;
use lamina_llb::Entitlements;
use lamina_llb::Frontend;
use lamina_registry::RegistryConfig;
use lamina_types::Platform;

/// What makes the mounts that processes see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotterKind {
    /// The first that works.
    #[default]
    Auto,
    /// The kernel's overlayfs; an error if it does not work here.
    Overlay,
}

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
    /// What steps without a platform are for, then what else can be run.
    pub platforms: Vec<Platform>,
    /// The program that calls `lamina_executor::runtime_main` when told so by its first argument.
    pub program: PathBuf,
    /// What builds may ask of the host at all.
    pub entitlements: Entitlements,
    /// Frontends by name.
    pub frontends: BTreeMap<String, Arc<dyn Frontend>>,
    /// How registries are reached.
    pub registries: RegistryConfig,
    /// How many steps run at once; 0 = as many as there are processors, but at least four.
    pub max_parallelism: usize,
    /// Called once if another process has the state folder, before waiting for it.
    pub on_wait: Option<Box<dyn FnOnce() + Send>>,
}

/// Returns the frontends that need no image: `dockerfile.v0` (row CSOL-04).
#[must_use]
pub fn built_in_frontends() -> BTreeMap<String, Arc<dyn Frontend>> {
    let dockerfile: Arc<dyn Frontend> = Arc::new(DockerfileFrontend);
    [("dockerfile.v0".to_owned(), dockerfile)].into()
}

impl EngineOptions {
    /// Returns the usual set-up over the state folder `root`: this program, its own sandbox, the
    /// host's platform, the built-in frontend and no entitlements.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, run_dir: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            run_dir: run_dir.into(),
            snapshotter: SnapshotterKind::default(),
            runtime: RuntimeKind::Builtin,
            platforms: vec![Platform::host()],
            program: PathBuf::from("/proc/self/exe"),
            entitlements: Entitlements::default(),
            frontends: built_in_frontends(),
            registries: RegistryConfig::default(),
            max_parallelism: 0,
            on_wait: None,
        }
    }
}
