//! The `lamina` command.
//!
//! The order of the first steps matters: the runtime child and the user namespace need a process
//! with one thread, so both come before tokio starts.

mod args;
mod build;
mod caches;
mod call;
mod connect;
mod context;
mod csv;
mod debug;
mod definition;
mod dial;
mod doctor;
mod error;
mod format;
mod history;
mod interactive;
mod layout;
mod metadata;
mod options;
mod output;
mod policy;
mod progress;
mod report;
mod run;
mod runtime;
mod secrets;
mod signals;
mod ssh;
mod usage;
mod visible;

use std::process::ExitCode;

use lamina_daemon::DaemonArgs;

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
    let command = match args::parse().command {
        // The daemon has a log and a runtime of its own.
        Command::Daemon(args) => return daemon(*args),
        command => command,
    };
    init_log();
    match run(command) {
        Ok(code) => report::ended(code),
        Err(error) => {
            report::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, CliError> {
    match command {
        Command::Build(args) => build::build(&args),
        Command::Solve(args) => build::solve(&args),
        Command::Run(args) => build::run(*args),
        Command::Daemon(args) => Ok(daemon(*args)),
        Command::Du(args) => runtime::block_on(usage::du(args)),
        Command::Prune(args) => runtime::block_on(usage::prune(args)),
        Command::History(args) => runtime::block_on(history::history(args)),
        Command::Debug(args) => runtime::block_on(debug::debug(args)),
        Command::DialStdio(args) => dial::dial_stdio(&args),
        Command::Doctor(args) => doctor::doctor(args),
    }
}

fn daemon(args: DaemonArgs) -> ExitCode {
    match lamina_executor::userns::enter() {
        Ok(_) => lamina_daemon::run(args),
        Err(error) => {
            report::error(&error);
            ExitCode::FAILURE
        }
    }
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
