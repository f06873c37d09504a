//! What a program needs to be set between fork and exec. All of the crate's `unsafe` is here.

use rustix::fs::Mode;
use rustix::process::Signal;

/// Lets `command` write files with the permissions that images expect, whatever this process's
/// umask is, and end when the thread ends that starts it.
pub(crate) fn settle(command: &mut tokio::process::Command) {
    let prepare = || {
        rustix::process::umask(Mode::from_raw_mode(0o022));
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made; nothing is allocated or locked.
    unsafe {
        command.pre_exec(prepare);
    }
}
