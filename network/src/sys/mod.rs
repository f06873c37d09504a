//! The system calls for which no safe wrapper exists. All of the crate's `unsafe` is here.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::Signal;

/// Has the kernel kill the child when the thread that starts it ends.
pub(crate) fn die_with_this_thread(command: &mut Command) -> &mut Command {
    let wish = || Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?);
    // SAFETY: between fork and exec only async-signal-safe functions may be called. The closure makes
    // one system call and neither allocates nor takes a lock.
    unsafe { command.pre_exec(wish) }
}
