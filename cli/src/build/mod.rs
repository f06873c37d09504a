//! `lamina build`, `lamina solve` and `lamina run`: by a daemon where there is one, else by an engine
//! inside the command.
//!
//! | the user says | who builds |
//! |---|---|
//! | `--addr` | that daemon; engine options are an error |
//! | `--embedded` or another engine option | the command itself |
//! | `BUILDKIT_HOST` | that daemon |
//! | `LAMINA_ROOT` | the command itself |
//! | nothing | this user's daemon if it runs, else the command itself |
//!
//! Either way the same session serves the user's files, the same display shows progress, and the
//! end is told the same.

mod driven;
mod embedded;
mod job;
mod remote;
mod shell;
mod target;

use std::path::Path;
use std::process::ExitCode;

use lamina_llb::BuildError;
use lamina_types::IoContext as _;

pub(crate) use target::root_of_environment;

use crate::args::BuildArgs;
use crate::args::CommonArgs;
use crate::args::ResultArgs;
use crate::args::RunArgs;
use crate::args::SolveArgs;
use crate::call::Call;
use crate::error::CliError;
use crate::interactive;
use crate::metadata;
use crate::progress;
use crate::progress::Mode;
use crate::report;
use crate::run::Run;
use crate::runtime;
use crate::signals;
use driven::Driver;
use job::Job;
use job::Response;
use shell::DebugShell;
use target::Target;

/// Runs `lamina build`. Called with one thread.
pub(crate) fn build(args: &BuildArgs) -> Result<ExitCode, CliError> {
    if let Some(call) = asked(args)? {
        let driver = Some(Driver::Call(call.clone()));
        return with(&args.common, driver, || Job::of_call(args, &call));
    }
    let driver = args.debug_shell.as_ref().map(|program| {
        Driver::Shell(DebugShell {
            program: program.clone(),
        })
    });
    if driver.is_some() && !interactive::has_terminal() {
        return Err(CliError::NoTerminal("--debug-shell"));
    }
    with(&args.common, driver, || Job::of_build(args))
}

/// Returns the question about the Dockerfile, if it is not to be built.
fn asked(args: &BuildArgs) -> Result<Option<Call>, CliError> {
    let text = if args.check {
        Some("check")
    } else {
        args.call.as_deref()
    };
    let call = text.map(Call::parse).transpose()?.flatten();
    Ok(call.map(|call| call.on(&args.context, args.file.as_deref())))
}

/// Runs `lamina run`. Called with one thread.
pub(crate) fn run(args: RunArgs) -> Result<ExitCode, CliError> {
    let (container, command, build) = args.into_build();
    let run = Run::parse(&container, command)?;
    let driver = Some(Driver::Run(Box::new(run)));
    with(&build.common, driver, || Job::of_run(&build))
}

/// Runs `lamina solve`. Called with one thread.
pub(crate) fn solve(args: &SolveArgs) -> Result<ExitCode, CliError> {
    with(&args.common, None, || Job::of_solve(args))
}

/// Builds what `read` reads: the user's files are opened in the namespaces of whoever builds.
fn with(
    args: &CommonArgs,
    driver: Option<Driver>,
    read: impl FnOnce() -> Result<Job, CliError>,
) -> Result<ExitCode, CliError> {
    let (connection, results) = (&args.connection, &args.results);
    match Target::choose(connection, &args.engine)? {
        Target::Daemon(address) => {
            runtime::block_on(remote::run(read()?, driver, &address, connection, results))
        }
        Target::Embedded(root) => {
            let ids = lamina_executor::userns::enter()?;
            let job = read()?;
            let options = embedded::options(&args.engine, root, &ids);
            runtime::block_on(embedded::run(job, driver, options, results))
        }
    }
}

/// Tells the end, with `code` unless the build failed: writes what was asked for beside the exports, or
/// says what went wrong.
fn end(
    job: &Job,
    outcome: Result<Response, BuildError>,
    args: &ResultArgs,
    steps: &progress::Steps,
    code: Option<u8>,
) -> Result<ExitCode, CliError> {
    match outcome {
        Ok(response) => {
            job.caches.finish(response.get("cache.manifest"))?;
            let finished = finish(&response, args)?;
            Ok(code.map_or(finished, ExitCode::from))
        }
        Err(error) => Ok(failure(&error, steps)),
    }
}

fn finish(response: &Response, args: &ResultArgs) -> Result<ExitCode, CliError> {
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
