//! The terminal of this process, made raw for a while.

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;

use rustix::termios::OptionalActions;
use rustix::termios::Termios;

/// How the terminal was before it was made raw. For all of the process, since the end of a process
/// by a signal runs no destructors.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal is raw as long as this lives.
#[must_use = "the terminal is restored when this is dropped"]
pub(super) struct RawTerminal(());

impl RawTerminal {
    /// Makes the terminal on standard input raw; nothing happens if there is none.
    pub(super) fn enter() -> Self {
        if let Ok(before) = rustix::termios::tcgetattr(io::stdin()) {
            let mut raw = before.clone();
            raw.make_raw();
            let mut kept = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
            kept.get_or_insert(before);
            // Then keys are read as lines, which is better than nothing.
            rustix::termios::tcsetattr(io::stdin(), OptionalActions::Drain, &raw).ok();
        }
        Self(())
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Makes the terminal what it was. To be called before the process ends by itself.
pub(crate) fn restore() {
    let mut kept = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = kept.take() {
        // A terminal that is gone needs nothing.
        rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &before).ok();
    }
}
