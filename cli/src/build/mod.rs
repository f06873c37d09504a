//! `lamina build` and `lamina solve`: by a daemon where there is one, else by an engine inside the
//! command.
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

mod embedded;
mod job;
mod remote;
mod target;

use std::path::Path;
use std::process::ExitCode;

use lamina_llb::BuildError;
use lamina_types::IoContext as _;

pub(crate) use target::root_of_environment;

use crate::args::BuildArgs;
use crate::args::CommonArgs;
use crate::args::ResultArgs;
use crate::args::SolveArgs;
use crate::error::CliError;
use crate::metadata;
use crate::progress;
use crate::progress::Mode;
use crate::report;
use crate::runtime;
use crate::signals;
use job::Job;
use job::Response;
use target::Target;

/// Runs `lamina build`. Called with one thread.
pub(crate) fn build(args: &BuildArgs) -> Result<ExitCode, CliError> {
    run(&args.common, || Job::of_build(args))
}

/// Runs `lamina solve`. Called with one thread.
pub(crate) fn solve(args: &SolveArgs) -> Result<ExitCode, CliError> {
    run(&args.common, || Job::of_solve(args))
}

/// Builds what `read` reads: the user's files are opened in the namespaces of whoever builds.
fn run(
    args: &CommonArgs,
    read: impl FnOnce() -> Result<Job, CliError>,
) -> Result<ExitCode, CliError> {
    let (connection, results) = (&args.connection, &args.results);
    match Target::choose(connection, &args.engine)? {
        Target::Daemon(address) => {
            runtime::block_on(remote::run(read()?, &address, connection, results))
        }
        Target::Embedded(root) => {
            let ids = lamina_executor::userns::enter()?;
            let job = read()?;
            let options = embedded::options(&args.engine, root, &ids);
            runtime::block_on(embedded::run(job, options, results))
        }
    }
}

/// Tells the end: writes what was asked for beside the exports, or says what went wrong.
fn end(
    job: &Job,
    outcome: Result<Response, BuildError>,
    args: &ResultArgs,
    steps: &progress::Steps,
) -> Result<ExitCode, CliError> {
    match outcome {
        Ok(response) => {
            job.caches.finish(response.get("cache.manifest"))?;
            finish(&response, args)
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
