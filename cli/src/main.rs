//! The `lamina` command.
//!
//! The order of the first steps matters: the runtime child and the user namespace need a process
//! with one thread, so both come before tokio starts.

mod args;
mod build;
mod context;
mod csv;
mod error;
mod metadata;
mod options;
mod output;
mod places;
mod progress;
mod report;
mod secrets;
mod signals;

use std::process::ExitCode;

use clap::Parser as _;

use args::Cli;
use args::Command;
use error::CliError;

/// The first argument of the child that runs steps; the executor starts it.
const RUNTIME_CHILD: &str = "runtime";

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == RUNTIME_CHILD)
    {
        lamina_executor::runtime_main();
    }
    let cli = Cli::parse();
    init_log();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            report::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let ids = lamina_executor::userns::enter()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let code = runtime.block_on(async {
        match cli.command {
            Command::Build(args) => build::build(*args, &ids).await,
            Command::Solve(args) => build::solve(*args, &ids).await,
        }
    });
    // Work that was abandoned by a cancelled build must not hold up the end.
    runtime.shutdown_background();
    code
}

/// Sends the program's own log to standard error; silent unless `LAMINA_LOG` asks.
fn init_log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("LAMINA_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
