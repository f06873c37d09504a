//! Builds by an engine inside the command.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lamina_daemon::places;
use lamina_engine::BuildRequest;
use lamina_engine::BuildSource;
use lamina_engine::Engine;
use lamina_engine::EngineOptions;
use lamina_engine::ExportRequest;
use lamina_engine::SnapshotterKind;
use lamina_executor::RuntimeKind;
use lamina_executor::userns::IdMapping;
use lamina_llb::Entitlements;
use lamina_registry::HostConfig;
use lamina_registry::RegistryConfig;

use super::driven;
use super::driven::Driven;
use super::driven::Driver;
use super::job::Job;
use crate::args::EngineArgs;
use crate::args::ResultArgs;
use crate::args::Snapshotter;
use crate::error::CliError;
use crate::output::Output;
use crate::progress;
use crate::report;
use crate::signals;

/// Opens the engine, builds, shows progress, and tells the end.
pub(super) async fn run(
    job: Job,
    driver: Option<Driver>,
    mut options: EngineOptions,
    args: &ResultArgs,
) -> Result<ExitCode, CliError> {
    let cancel = signals::cancel_on_signal()?;
    let entitlements = Entitlements::parse(&job.allow).map_err(CliError::Entitlement)?;
    options.entitlements = entitlements.clone();
    let opened = tokio::select! {
        opened = Engine::open(options) => opened?,
        () = cancel.cancelled() => return Ok(signals::INTERRUPTED.into()),
    };
    let (events, shown, holder) = progress::watch(args.progress);
    let driven = driver.map(|driver| Driven::new(driver, &job.source, holder));
    let (source, pipe) = match &driven {
        Some(_) => driven::in_process(),
        None => (job.source.clone(), None),
    };
    let driving = async {
        if let (Some(driven), Some(pipe)) = (&driven, pipe) {
            driven.drive_over(pipe).await;
        }
    };
    let request = request(&job, source, entitlements);
    let (outcome, ()) = tokio::join!(opened.build(request, events, &cancel), driving);
    let response = outcome.map(|outcome| outcome.exporter_response);
    // Everything is on disk and no process is left before the end is told; the state folder is free by
    // then, whatever the screen does.
    opened.settle().await;
    drop(opened);
    let steps = shown.steps().await;
    let code = driven.as_ref().and_then(Driven::finish);
    super::end(&job, response, args, &steps, code)
}

fn request(job: &Job, source: BuildSource, entitlements: Entitlements) -> BuildRequest {
    BuildRequest {
        exports: job.outputs.iter().map(export).collect(),
        cache_imports: job.caches.imports.clone(),
        cache_exports: job.caches.exports.clone(),
        policy: job.policy.clone(),
        no_cache: job.no_cache,
        entitlements,
        ..BuildRequest::new(source, Arc::clone(&job.session))
    }
}

fn export(output: &Output) -> ExportRequest {
    ExportRequest {
        kind: output.kind.clone(),
        attrs: output.attrs.clone(),
    }
}

/// Returns what the engine is opened with.
pub(super) fn options(args: &EngineArgs, root: Option<PathBuf>, ids: &IdMapping) -> EngineOptions {
    let root = root.unwrap_or_else(|| places::default_root(ids));
    let waited = root.clone();
    let mut options = EngineOptions::new(root, places::run_dir(ids));
    options.snapshotter = match args.snapshotter {
        None | Some(Snapshotter::Auto) => SnapshotterKind::Auto,
        Some(Snapshotter::Overlay) => SnapshotterKind::Overlay,
        Some(Snapshotter::Fuse) => SnapshotterKind::Fuse,
        Some(Snapshotter::Copy) => SnapshotterKind::Copy,
    };
    let runtime = args.runtime.as_deref();
    if let Some(runtime) = runtime.filter(|runtime| *runtime != "builtin") {
        options.runtime = RuntimeKind::Oci(runtime.into());
    }
    options.frontends = lamina_daemon::frontends();
    options.network.cni.config = places::default_cni_config();
    options.version = lamina_daemon::version();
    options.registries = registries(&args.insecure_registry);
    options.on_wait = Some(Box::new(move || {
        report::text(&format!("{}\n", lamina_daemon::waiting_for(&waited)));
    }));
    options
}

fn registries(insecure: &[String]) -> RegistryConfig {
    let mut config = RegistryConfig::default();
    for host in insecure {
        let plain = HostConfig {
            http: true,
            ..HostConfig::default()
        };
        config.hosts.insert(host.clone(), plain);
    }
    config
}
