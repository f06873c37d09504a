//! Loading a system call filter.

use std::io;

/// One instruction of a classic BPF program, as the kernel lays it out.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SockFilter {
    /// Operation.
    pub(crate) code: u16,
    /// Instructions to skip if true.
    pub(crate) jump_true: u8,
    /// Instructions to skip if false.
    pub(crate) jump_false: u8,
    /// Operand.
    pub(crate) operand: u32,
}

/// `struct sock_fprog` of the kernel.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const SockFilter,
}

/// Puts a filter on this thread, without "no new privileges": the caller has CAP_SYS_ADMIN.
///
/// Speculation is left as it is, as runc does, since turning its mitigations on slows every step.
pub(crate) fn load_filter(filter: &[SockFilter]) -> io::Result<()> {
    match load_with(filter, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => load_with(filter, 0),
        result => result,
    }
}

fn load_with(filter: &[SockFilter], flags: libc::c_ulong) -> io::Result<()> {
    let program = Program {
        length: u16::try_from(filter.len()).map_err(io::Error::other)?,
        instructions: filter.as_ptr(),
    };
    // SAFETY: `program` names `length` instructions laid out as the kernel expects; both outlive
    // the call, which copies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
