//! The daemon as a program: how it starts, what it leaves alone, how it stops.
//!
//! This program is the daemon too: with `daemon` as its first argument it runs one, and with
//! `runtime` the child that the executor starts. So the tests need nothing but themselves.

mod daemon;
mod life;
mod listening;
mod tls;
mod wire;

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::process::ExitCode;

use clap::Parser;
use lamina_daemon::DaemonArgs;

/// A test by name.
type Test = (&'static str, fn());

#[derive(Parser)]
#[command(version = lamina_daemon::version_line())]
struct Program {
    #[command(flatten)]
    args: DaemonArgs,
}

fn main() -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    match first.as_str() {
        "runtime" => lamina_executor::runtime_main(),
        "daemon" => run_daemon(),
        filter => run_tests(filter),
    }
}

fn run_daemon() -> ExitCode {
    let program = Program::parse_from(std::env::args().skip(1));
    lamina_executor::userns::enter().expect("namespaces");
    lamina_daemon::run(program.args)
}

fn run_tests(filter: &str) -> ExitCode {
    let filter = if filter.starts_with('-') { "" } else { filter };
    let mut failed = 0;
    let tests = life::TESTS
        .iter()
        .chain(listening::TESTS)
        .chain(wire::TESTS)
        .chain(tls::TESTS);
    for (name, test) in tests.filter(|(name, _)| name.contains(filter)) {
        let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
        daemon::report(&format!(
            "test {name} ... {}",
            if passed { "ok" } else { "FAILED" }
        ));
        failed += u32::from(!passed);
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
