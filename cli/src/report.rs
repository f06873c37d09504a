//! What the command prints besides progress.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is where the command prints"
)]

use std::fmt::Display;

use crate::visible::visible_lines;

/// Prints an error that ended the command.
pub(crate) fn error(error: &dyn Display) {
    eprintln!("ERROR: {}", visible_lines(&error.to_string()));
}

/// Prints text as it is to standard error.
pub(crate) fn text(text: &str) {
    eprint!("{text}");
}

/// Prints a result line on standard output.
pub(crate) fn result(line: &str) {
    println!("{line}");
}

/// Prints text as it is to standard output.
pub(crate) fn text_result(text: &str) {
    print!("{text}");
}
