//! The parts of `/proc` and `/sys` that a confined step sees empty or cannot write (row EXC-32).
//!
//! They are opened relative to the descriptors of the mounts that we have just made, so that no
//! image and no other step can put something else in their place.

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::OwnedFd;

use lamina_types::IoContext;
use lamina_types::RootedPath;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::mounts::attach;
use super::mounts::clone_tree;
use crate::detached::new_mount;
use crate::in_root;
use crate::sys;
use crate::wire::Failure;

/// Covered in `/proc`: memory and keys of the kernel, addresses, timings of others, hardware.
const MASKED: [&str; 9] = [
    "acpi",
    "asound",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];

/// Covered in `/sys`: firmware, and power measurements from which secrets can be guessed.
const MASKED_IN_SYS: [&str; 2] = ["devices/virtual/powercap", "firmware"];

/// What files are covered with: major and minor number of the null device.
const NULL: (u32, u32) = (1, 3);

/// Settings of the whole machine.
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Lists the covered places by their paths, for other runtimes.
pub(super) fn masked_paths() -> Vec<String> {
    let proc = MASKED.iter().map(|name| format!("/proc/{name}"));
    let sys = MASKED_IN_SYS.iter().map(|name| format!("/sys/{name}"));
    proc.chain(sys).collect()
}

/// Lists the read-only places by their paths, for other runtimes.
pub(super) fn read_only_paths() -> Vec<String> {
    READ_ONLY
        .iter()
        .map(|name| format!("/proc/{name}"))
        .collect()
}

/// Covers what a confined step must not see or change.
///
/// `proc`, `sys` and `dev` are the step's own mounts; `sys` is absent if the caller has put
/// something else there.
pub(super) fn cover(proc: &OwnedFd, sys: Option<&OwnedFd>, dev: &OwnedFd) -> Result<(), Failure> {
    for name in READ_ONLY {
        read_only(proc, name).at(format!("/proc/{name}"))?;
    }
    for name in MASKED {
        mask(proc, name, dev).at(format!("/proc/{name}"))?;
    }
    let Some(sys) = sys else {
        return Ok(());
    };
    for name in MASKED_IN_SYS {
        mask(sys, name, dev).at(format!("/sys/{name}"))?;
    }
    Ok(())
}

/// The least that the kernel takes as the end of the numbers of processes.
const LEAST_PID_MAX: u32 = 301;

/// Limits the numbers of processes in this pid namespace, and so the processes. Only where older
/// kernels, which have one such setting for the whole machine, refuse: in a user namespace.
pub(super) fn limit_numbers(proc: &OwnedFd, limit: u32) {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let path = c"sys/kernel/pid_max";
    let set = rustix::fs::openat(proc, path, flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|file| {
            let text = limit.max(LEAST_PID_MAX).to_string();
            File::from(file).write_all(text.as_bytes())
        });
    if let Err(error) = set {
        // Nothing listens here; the step runs as all did before.
        tracing::debug!(%error, "the step may start any number of processes");
    }
}

/// Opens a place below a mount of ours, `None` if the kernel has no such file.
fn open(mount: &OwnedFd, name: &str) -> io::Result<Option<OwnedFd>> {
    match in_root::open_without_links(mount, &RootedPath::new(name)) {
        Ok(place) => Ok(Some(place)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_only(proc: &OwnedFd, name: &str) -> io::Result<()> {
    let Some(place) = open(proc, name)? else {
        return Ok(());
    };
    let copy = clone_tree(&place)?;
    sys::set_mount_attributes(&copy, MountAttrFlags::MOUNT_ATTR_RDONLY, true)?;
    attach(copy, place)
}

fn mask(mount: &OwnedFd, name: &str, dev: &OwnedFd) -> io::Result<()> {
    let Some(place) = open(mount, name)? else {
        return Ok(());
    };
    let cover = if in_root::kind(&place)? == FileType::Directory {
        new_mount("tmpfs", &[], MountAttrFlags::MOUNT_ATTR_RDONLY)?
    } else {
        null(dev)?
    };
    attach(cover, place)
}

/// Makes a mount of `/dev/null`, and of nothing that the caller has put in its place.
fn null(dev: &OwnedFd) -> io::Result<OwnedFd> {
    let null = in_root::open_without_links(dev, &RootedPath::new("null"))?;
    let stat = rustix::fs::fstat(&null)?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !is_device || stat.st_rdev != rustix::fs::makedev(NULL.0, NULL.1) {
        return Err(io::Error::other("/dev/null is not the null device"));
    }
    clone_tree(null)
}

/// Explains why a new procfs is refused in a container whose own is partly covered.
pub(super) fn explain(error: io::Error) -> Failure {
    let refused = error.raw_os_error() == Some(Errno::PERM.raw_os_error());
    let hint = if refused {
        " (parts of /proc are covered here, as in a container: start it with unmasked paths, \
         such as docker's --security-opt systempaths=unconfined)"
    } else {
        ""
    };
    Failure::Sandbox(format!("mount /proc: {error}{hint}"))
}
