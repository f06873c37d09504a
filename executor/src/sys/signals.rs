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
    reset_internal_signals();
    SigSet::empty().thread_set_mask()
}

/// The signals that the C library keeps for itself, and does not let anybody set. A process that it has
/// spawned ignores them, and so would all that are started by it.
const INTERNAL: std::ops::RangeInclusive<libc::c_long> = 32..=33;

/// What the kernel takes for an action; the default one is all zeros.
#[repr(C)]
#[derive(Default)]
struct KernelAction([libc::c_ulong; 4]);

fn reset_internal_signals() {
    let action = KernelAction::default();
    for number in INTERNAL {
        let old = std::ptr::null_mut::<KernelAction>();
        // SAFETY: the kernel only reads `action`, which is as large as its own; the default
        // disposition runs no code of ours. A refusal leaves the signal ignored.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                &action,
                old,
                size_of::<u64>(),
            );
        }
    }
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
