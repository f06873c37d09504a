//! `mount_setattr(2)`, which rustix lacks.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;

/// `struct mount_attr` of the kernel, first version.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace_fd: u64,
}

/// `MOUNT_ATTR_RDONLY`
const RDONLY: u64 = 0x1;

/// Makes the mount behind `fd` read-only.
///
/// # Errors
/// As `mount_setattr(2)`; `ENOSYS` on kernels before 5.12.
pub(crate) fn make_read_only(fd: impl AsFd) -> io::Result<()> {
    let attr = MountAttr {
        set: RDONLY,
        clear: 0,
        propagation: 0,
        user_namespace_fd: 0,
    };
    // SAFETY: the descriptor is open for the length of the call, the path is a static string that
    // ends in NUL, and `attr` is a valid struct of exactly the size that is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
