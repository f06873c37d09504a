//! Signal dispositions.

use nix::sys::signal::SigHandler;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::sys::signal::signal;

use super::exit_now;

/// Gives every signal its default disposition and unblocks all, as a new program expects.
pub(crate) fn reset_signals() -> nix::Result<()> {
    for number in Signal::iterator() {
        if !matches!(number, Signal::SIGKILL | Signal::SIGSTOP) {
            // SAFETY: the default disposition runs no code of ours.
            unsafe { signal(number, SigHandler::SigDfl) }?;
        }
    }
    SigSet::empty().thread_set_mask()
}

/// Ends this process as if `number` had killed it, so that whoever waits sees the same.
pub(crate) fn die_by(number: i32) -> ! {
    // SAFETY: takes numbers only; the default disposition runs no code of ours.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
    }
    SigSet::empty().thread_set_mask().ok();
    // SAFETY: takes a number only.
    unsafe {
        libc::raise(number);
    }
    exit_now(128 + number)
}
