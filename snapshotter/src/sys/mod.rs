//! The system calls that no crate wraps.

mod mount_attr;

pub(crate) use mount_attr::make_read_only;
