//! Running tests without the usual harness, in test programs that have a `main` of their own.
//!
//! ```no_run
//! use lamina_testkit::harness::Outcome;
//! use lamina_testkit::harness::Test;
//!
//! fn addition() -> Outcome {
//!     assert_eq!(1 + 1, 2);
//!     Outcome::Passed
//! }
//!
//! lamina_testkit::harness::run(&[Test::new("addition", addition)]);
//! ```

use std::panic::catch_unwind;
use std::process::exit;
use std::time::Instant;

/// A named test.
pub struct Test {
    name: &'static str,
    body: fn() -> Outcome,
}

/// What a test ends with unless it panics.
pub enum Outcome {
    /// It found what it should.
    Passed,
    /// It cannot run here, for this reason.
    Skipped(String),
}

impl Test {
    /// Names a test. It fails by panicking.
    pub const fn new(name: &'static str, body: fn() -> Outcome) -> Self {
        Self { name, body }
    }
}

/// Runs the tests whose names contain one of the arguments, all without arguments. With `--list` they
/// are only named. Ends the process with code 101 if one failed.
pub fn run(tests: &[Test]) {
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    if std::env::args().any(|argument| argument == "--list") {
        tests
            .iter()
            .for_each(|test| say(&format!("{}: test", test.name)));
        return;
    }
    let wanted = |test: &&Test| filters.is_empty() || filters.iter().any(|f| test.name.contains(f));
    let mut failed = 0;
    for test in tests.iter().filter(wanted) {
        let started = Instant::now();
        let outcome = match catch_unwind(test.body) {
            Ok(Outcome::Passed) => "ok".to_owned(),
            Ok(Outcome::Skipped(reason)) => format!("skipped: {reason}"),
            Err(_) => {
                failed += 1;
                "FAILED".to_owned()
            }
        };
        say(&format!(
            "test {} ... {outcome} ({:.1?})",
            test.name,
            started.elapsed()
        ));
    }
    if failed > 0 {
        say(&format!("{failed} tests failed"));
        exit(101);
    }
}

/// Prints a line of the test program's output.
#[expect(clippy::print_stdout, reason = "the output of a test program")]
pub fn say(line: &str) {
    println!("{line}");
}
