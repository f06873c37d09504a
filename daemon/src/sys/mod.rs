//! System calls that no safe wrapper offers.

use std::os::fd::FromRawFd as _;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// The first descriptor that a service manager passes.
const FIRST_PASSED: RawFd = 3;

/// Takes over the first `count` descriptors that the service manager passed.
///
/// Only the first call gets them, so that none is owned twice; it must come before this program has
/// opened anything. Numbers that are not open give nothing.
pub(crate) fn take_passed(count: u16) -> Vec<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let numbers = FIRST_PASSED..FIRST_PASSED + RawFd::from(count);
    numbers.filter_map(take).collect()
}

fn take(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl with F_SETFD touches no memory; a number that is not open is an error.
    let known = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: the descriptor is open, was passed to this process to be owned by it, and is taken
    // once: `take_passed` hands each number out on its first call only.
    (known == 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Limits the number of heaps that the C library keeps for threads: each holds on to memory that
/// was used once, which a daemon that mostly waits would keep for ever.
pub(crate) fn limit_heaps(count: i32) {
    // SAFETY: mallopt changes a setting of the allocator and takes plain numbers.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, count);
    }
}

/// Gives memory that is free back to the system.
pub(crate) fn trim_heap() {
    // SAFETY: malloc_trim may be called at any time, by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
