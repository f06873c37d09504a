//! What the command prints besides progress.
//!
//! Nothing is printed any more once standard output cannot take it, and [`ended`] decides what the
//! command ends with then. What standard error cannot take is lost: there is nowhere to say so.

use std::fmt::Display;
use std::io;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::OnceLock;

use crate::visible::visible_lines;

/// What a shell says of a program that SIGPIPE killed, 128 and the signal's number. Rust programs
/// ignore that signal; other Unix tools die of it, and scripts with `pipefail` know the number.
const KILLED_BY_SIGPIPE: u8 = 141;

/// Why standard output takes nothing any more.
static CLOSED: OnceLock<io::Error> = OnceLock::new();

/// Prints an error that ended the command.
pub(crate) fn error(error: &dyn Display) {
    text(&format!("ERROR: {}\n", visible_lines(&error.to_string())));
}

/// Prints text as it is to standard error.
pub(crate) fn text(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// Prints a result line on standard output.
pub(crate) fn result(line: &str) {
    text_result(&format!("{line}\n"));
}

/// Prints text as it is to standard output.
pub(crate) fn text_result(text: &str) {
    if CLOSED.get().is_some() {
        return;
    }
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes());
    if let Err(error) = written.and_then(|()| output.flush()) {
        // The cell is empty: this is the only place that fills it, with the lock held.
        drop(CLOSED.set(error));
    }
}

/// Returns what the command ends with whose work ended with `code`: a reader who has had enough, as
/// `head` does, is no error to speak of; a full disk is one.
pub(crate) fn ended(code: ExitCode) -> ExitCode {
    match CLOSED.get() {
        None => code,
        Some(closed) if closed.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::from(KILLED_BY_SIGPIPE)
        }
        Some(closed) => {
            error(&format!("standard output: {closed}"));
            ExitCode::FAILURE
        }
    }
}
