//! Copies of this process, made only while it has a single thread.

use std::io;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::process::Pid;

/// Which of the two processes this is.
pub(crate) enum Cloned {
    /// The new process.
    Child,
    /// The old one, which now has a child.
    Parent {
        /// The child's number here.
        pid: Pid,
        /// A descriptor of the child; readable once it has ended.
        pidfd: OwnedFd,
    },
}

/// Forks. The caller has a single thread, so the child may go on using everything.
pub(crate) fn fork() -> io::Result<Cloned> {
    clone_with(0)
}

/// Forks a child that is the first process of a pid namespace of its own.
pub(crate) fn clone_into_pid_namespace() -> io::Result<Cloned> {
    clone_with(libc::CLONE_NEWPID)
}

fn clone_with(flags: libc::c_int) -> io::Result<Cloned> {
    let flags = flags | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: RawFd = -1;
    // SAFETY: without CLONE_VM and with a null stack this is fork(2): the child gets a copy of the
    // memory and returns here on a copy of the stack. The only pointer is the place for the pidfd,
    // which lives until after the call. Callers have one thread, so no lock is held by another.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::c_long::from(flags),
            std::ptr::null_mut::<libc::c_void>(),
            &raw mut pidfd,
            std::ptr::null_mut::<libc::c_int>(),
            std::ptr::null_mut::<libc::c_void>(),
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            pid.map(|pid| Cloned::Parent { pid, pidfd })
                .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
        }
    }
}

/// Ends the process at once: no destructors, no buffers flushed. For children of a fork.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes a number, touches no memory of ours and does not return.
    unsafe { libc::_exit(code) }
}
