//! `lamina build` and `lamina solve`.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use lamina_daemon::BuildOutcome;
use lamina_daemon::BuildRequest;
use lamina_daemon::BuildSource;
use lamina_daemon::Engine;
use lamina_daemon::EngineOptions;
use lamina_daemon::ExportRequest;
use lamina_daemon::SnapshotterKind;
use lamina_executor::RuntimeKind;
use lamina_executor::userns::IdMapping;
use lamina_frontend::DockerfileFrontend;
use lamina_llb::BuildError;
use lamina_llb::Entitlements;
use lamina_llb::Frontend;
use lamina_proto::pb;
use lamina_registry::HostConfig;
use lamina_registry::RegistryConfig;
use lamina_types::IoContext as _;
use prost::Message as _;
use tokio::sync::mpsc;

use crate::args::BuildArgs;
use crate::args::EngineArgs;
use crate::args::ResultArgs;
use crate::args::Snapshotter;
use crate::args::SolveArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::metadata;
use crate::options;
use crate::output;
use crate::output::Output;
use crate::places;
use crate::progress;
use crate::progress::Mode;
use crate::report;
use crate::signals;

/// The name under which the built-in frontend is registered.
const DOCKERFILE: &str = "dockerfile.v0";

/// A definition on standard input may not be larger than this.
const MAX_DEFINITION_BYTES: u64 = 256 << 20;

/// Runs `lamina build`.
pub(crate) async fn build(args: BuildArgs, ids: &IdMapping) -> Result<ExitCode, CliError> {
    let outputs = outputs(&args.results)?;
    let mut context = Context::open(&args.context, args.file.as_deref())?;
    for named in &args.build_context {
        context.add_named(named)?;
    }
    let mut options = options::frontend_options(&args)?;
    options.append(&mut context.options);
    let source = BuildSource::Frontend {
        name: DOCKERFILE.to_owned(),
        options,
        inputs: BTreeMap::new(),
    };
    run(source, &context, outputs, &args.results, args.engine, ids).await
}

/// Runs `lamina solve`.
pub(crate) async fn solve(args: SolveArgs, ids: &IdMapping) -> Result<ExitCode, CliError> {
    let outputs = outputs(&args.results)?;
    let context = Context::of_locals(&args.local)?;
    let source = BuildSource::Definition(read_definition()?);
    run(source, &context, outputs, &args.results, args.engine, ids).await
}

fn outputs(args: &ResultArgs) -> Result<Vec<Output>, CliError> {
    let outputs = Output::parse_all(&args.output, std::io::stdout().is_terminal())?;
    let outputs = output::with_names(outputs, &args.tag, args.push);
    let nameless = |output: &Output| output.kind == "image" && !output.attrs.contains_key("name");
    if args.push && outputs.iter().any(nameless) {
        return Err(CliError::PushWithoutName);
    }
    Ok(outputs)
}

fn read_definition() -> Result<pb::Definition, CliError> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(CliError::NoDefinition);
    }
    let mut bytes = Vec::new();
    let mut input = stdin.lock().take(MAX_DEFINITION_BYTES);
    input.read_to_end(&mut bytes).at("standard input")?;
    if bytes.is_empty() {
        return Err(CliError::EmptyDefinition);
    }
    pb::Definition::decode(bytes.as_slice()).map_err(CliError::BadDefinition)
}

/// Builds, shows progress, and reports the end.
async fn run(
    source: BuildSource,
    context: &Context,
    outputs: Vec<Output>,
    args: &ResultArgs,
    engine: EngineArgs,
    ids: &IdMapping,
) -> Result<ExitCode, CliError> {
    let cancel = signals::cancel_on_signal()?;
    let entitlements = entitlements(&engine)?;
    let session = options::session(context, &outputs, args)?;
    let request = BuildRequest {
        source,
        exports: exports(&outputs),
        session: Arc::new(session),
        no_cache: args.no_cache,
        entitlements,
    };
    let options = engine_options(engine, ids, entitlements);
    let (sender, events) = mpsc::unbounded_channel();
    let shown = tokio::spawn(progress::show(args.progress, events));
    let opened = tokio::select! {
        opened = Engine::open(options) => opened?,
        () = cancel.cancelled() => return Ok(signals::INTERRUPTED.into()),
    };
    let outcome = opened.build(request, sender, &cancel).await;
    // Everything is on disk and no process is left before the end is told.
    opened.settle().await;
    drop(opened);
    let steps = shown.await.unwrap_or_default();
    match outcome {
        Ok(outcome) => finish(&outcome, args),
        Err(error) => Ok(failure(&error, &steps)),
    }
}

fn exports(outputs: &[Output]) -> Vec<ExportRequest> {
    let export = |output: &Output| ExportRequest {
        kind: output.kind.clone(),
        attrs: output.attrs.clone(),
    };
    outputs.iter().map(export).collect()
}

fn entitlements(args: &EngineArgs) -> Result<Entitlements, CliError> {
    Entitlements::parse(&args.allow).map_err(CliError::Entitlement)
}

fn engine_options(args: EngineArgs, ids: &IdMapping, entitlements: Entitlements) -> EngineOptions {
    let root = args.root.unwrap_or_else(|| places::default_root(ids));
    let shown = root.display().to_string();
    let mut options = EngineOptions::new(root, places::run_dir(ids));
    options.snapshotter = match args.snapshotter {
        Snapshotter::Auto => SnapshotterKind::Auto,
        Snapshotter::Overlay => SnapshotterKind::Overlay,
    };
    if args.runtime != "builtin" {
        options.runtime = RuntimeKind::Oci(args.runtime.into());
    }
    options.entitlements = entitlements;
    let frontend: Arc<dyn Frontend> = Arc::new(DockerfileFrontend);
    options.frontends.insert(DOCKERFILE.to_owned(), frontend);
    options.registries = registries(&args.insecure_registry);
    options.on_wait = Some(Box::new(move || {
        report::text(&format!("waiting for another build that uses {shown}\n"));
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

/// Writes what was asked for beside the exports.
fn finish(outcome: &BuildOutcome, args: &ResultArgs) -> Result<ExitCode, CliError> {
    let response = &outcome.exporter_response;
    if let Some(path) = &args.metadata_file {
        write(path, &metadata::render(response))?;
    }
    let id = response
        .get("containerimage.config.digest")
        .or_else(|| response.get("containerimage.digest"));
    if let (Some(path), Some(id)) = (&args.iidfile, id) {
        write(path, id)?;
    }
    if let (Mode::Quiet, Some(id)) = (args.progress, id) {
        report::result(id);
    }
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(path, text).at(path.display())?;
    Ok(())
}

/// Prints why a build failed. The exit code is that of the process that failed, if one did.
fn failure(error: &BuildError, steps: &progress::Steps) -> ExitCode {
    if error.cancelled {
        report::text("canceled\n");
        return signals::INTERRUPTED.into();
    }
    report::text(&progress::report_failure(error, steps));
    match error.exit_code.and_then(|code| u8::try_from(code).ok()) {
        Some(code) if code != 0 => code.into(),
        _ => ExitCode::FAILURE,
    }
}
