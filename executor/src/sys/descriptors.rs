//! Getting rid of inherited descriptors.

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

/// Closes every descriptor from 3 up, except `kept`.
///
/// For a freshly forked child that never returns to its caller, so that no owner of one of the
/// closed descriptors is ever used or dropped in it.
pub(crate) fn close_all_from_3_but(kept: BorrowedFd<'_>) -> io::Result<()> {
    let kept = u32::try_from(kept.as_raw_fd()).map_err(io::Error::other)?;
    if kept > 3 {
        close_range(3, kept - 1)?;
    }
    close_range(kept.max(2) + 1, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: takes numbers only. The descriptors belong to values of the parent's copy of the
    // memory that the forked child never touches again (see above).
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
