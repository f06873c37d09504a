//! From settings to an open engine.

use std::path::Path;
use std::sync::Arc;

use lamina_engine::Engine;
use lamina_engine::EngineOptions;
use lamina_engine::OpenError;
use lamina_engine::StepLogLimits;
use lamina_executor::RuntimeKind;
use lamina_session::SessionManager;

use crate::frontends;
use crate::frontends::AllowedRepositories;
use crate::frontends::DOCKERFILE;
use crate::frontends::GATEWAY;
use crate::holder::waiting_for;
use crate::run::LOCK_PATIENCE;
use crate::settings::Settings;
use crate::version;

/// Opens the engine that the settings describe; waits if another process has the state folder.
pub(crate) async fn open(
    settings: Settings,
    sessions: SessionManager,
) -> Result<Engine, OpenError> {
    let mut notes = Vec::new();
    let options = options(settings, sessions, &mut notes);
    for note in notes {
        tracing::warn!("{note}");
    }
    Engine::open(options).await
}

fn options(settings: Settings, sessions: SessionManager, notes: &mut Vec<String>) -> EngineOptions {
    let mut options = EngineOptions::new(&settings.root, &settings.run_dir);
    options.frontends = enabled(&settings, notes);
    let worker = settings.worker;
    options.snapshotter = worker.snapshotter;
    options.labels = worker.labels;
    options.max_parallelism = worker.max_parallelism;
    options.cgroup_parent = worker.cgroup_parent;
    options.devices = settings.devices;
    if !worker.platforms.is_empty() {
        options.platforms = worker.platforms;
    }
    if let Some(age) = settings.platforms_max_age {
        options.platforms_max_age = age;
    }
    if let Some(program) = worker.binary {
        options.runtime = RuntimeKind::Oci(program);
    }
    options.entitlements = settings.entitlements;
    options.sessions = sessions;
    options.version = version::version();
    options.gc = settings.gc;
    options.dns = settings.dns;
    worker.network.put(&mut options.network);
    options.history = settings.history;
    options.step_log = settings.step.log(StepLogLimits::default()).or_environment();
    options.max_processes = settings.step.processes();
    options.registries = settings.registries;
    let root = settings.root;
    options.on_wait = Some(Box::new(move || tracing::warn!("{}", waiting(&root))));
    options
}

/// Says what holds the start up, and for how long at most.
fn waiting(root: &Path) -> String {
    let seconds = LOCK_PATIENCE.as_secs();
    let whom = waiting_for(root);
    format!("{whom}, for {seconds} seconds at most")
}

/// Row CFG-12.
fn enabled(
    settings: &Settings,
    notes: &mut Vec<String>,
) -> std::collections::BTreeMap<String, Arc<dyn lamina_llb::Frontend>> {
    let mut all = frontends::frontends();
    let wishes = &settings.frontends;
    if wishes.dockerfile_enabled == Some(false) {
        all.remove(DOCKERFILE);
    }
    if wishes.gateway_enabled == Some(false) {
        all.remove(GATEWAY);
    }
    if !wishes.allowed_repositories.is_empty()
        && let Some(gateway) = all.remove(GATEWAY)
    {
        let limited = AllowedRepositories::new(gateway, &wishes.allowed_repositories, notes);
        all.insert(GATEWAY.to_owned(), Arc::new(limited));
    }
    all
}
