//! System calls for tests.

#![expect(unsafe_code, reason = "an ioctl that no crate wraps")]

use std::fs::File;

use rustix::ioctl::Setter;
use rustix::ioctl::ioctl;
use rustix::ioctl::opcode;

/// `EXT4_IOC_SHUTDOWN`, which XFS and others know as well.
const SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);

/// Do not write the journal.
const NO_FLUSH: u32 = 2;

/// Stops the file system that `file` is on; what it has not written by now is lost.
pub(crate) fn cut_power(file: &File) -> rustix::io::Result<()> {
    // SAFETY: the call reads one u32 through its argument, which lives until it returns.
    unsafe { ioctl(file, Setter::<SHUTDOWN, u32>::new(NO_FLUSH)) }
}
