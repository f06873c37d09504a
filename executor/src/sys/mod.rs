//! The system calls for which no safe wrapper exists. All of the crate's `unsafe` is here.

mod bpf;
mod clone;
mod descriptors;
mod keyring;
mod mount_attr;
mod network;
mod seccomp;
mod signals;
mod watch;

pub(crate) use bpf::Instruction;
pub(crate) use bpf::attach_device_program;
pub(crate) use bpf::load_device_program;
pub(crate) use clone::Cloned;
pub(crate) use clone::clone_into_pid_namespace;
pub(crate) use clone::exit_now;
pub(crate) use clone::fork;
pub(crate) use descriptors::close_all_from_3_but;
pub(crate) use keyring::join_new_session_keyring;
pub(crate) use mount_attr::set_mount_attributes;
pub(crate) use network::bring_loopback_up;
pub(crate) use seccomp::SockFilter;
pub(crate) use seccomp::load_filter;
pub(crate) use signals::die_by;
pub(crate) use signals::reset_signals;
pub(crate) use watch::watch;
