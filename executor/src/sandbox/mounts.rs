//! Mounting without paths: every mount is made as a descriptor and put on a descriptor.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use lamina_types::IoContext;
use lamina_types::RootedPath;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::PROC_SUPER_MAGIC;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::mount::MountPropagationFlags;
use rustix::mount::MoveMountFlags;
use rustix::mount::OpenTreeFlags;
use rustix::mount::UnmountFlags;

use super::Machine;
use super::Step;
use super::cgroupfs;
use super::dev;
use super::prepare::Prepared;
use super::prepare::PreparedMount;
use super::proc;
use crate::detached::by_descriptor;
use crate::detached::new_mount;
use crate::in_root;
use crate::sys;
use crate::wire::Devices;
use crate::wire::Failure;

/// No devices, no set-id programs, no programs: for file systems of the kernel.
pub(super) const INERT: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Makes another mount of what `place` is of, nowhere yet, with everything mounted below it.
pub(crate) fn clone_tree(place: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    Ok(rustix::mount::open_tree(place, c"", flags)?)
}

/// Puts a mount on a place.
pub(super) fn attach(mount: impl AsFd, place: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(
        mount.as_fd(),
        c"",
        place.as_fd(),
        c"",
        flags,
    )?)
}

/// Cuts the tree of mounts loose from the one it was copied from.
pub(super) fn make_private() -> io::Result<()> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change(c"/", flags)?)
}

/// Opens the place of a mount that every step has. An image may not move it by a link.
pub(super) fn system_place(root: &OwnedFd, path: &str) -> Result<OwnedFd, Failure> {
    let place = in_root::open_without_links(root, &RootedPath::new(path)).at(path)?;
    if in_root::kind(&place).at(path)? == FileType::Directory {
        Ok(place)
    } else {
        Err(Failure::Sandbox(format!(
            "{path} is not an ordinary directory of the image"
        )))
    }
}

/// Mounts everything below the root, which is already on the stage.
pub(super) fn dress_root(
    step: &Step,
    prepared: &Prepared,
    machine: &Machine,
) -> Result<(), Failure> {
    let (root, description) = (step.root(), &step.description);
    if description.devices == Devices::NoDev {
        sys::set_mount_attributes(root, MountAttrFlags::MOUNT_ATTR_NODEV, false).at("/")?;
    }
    let proc = new_mount("proc", &[], INERT).map_err(proc::explain)?;
    if let Some(limit) = description.pid_max
        && machine.in_user_namespace
    {
        proc::limit_numbers(&proc, limit);
    }
    attach(&proc, system_place(root, "/proc")?).at("/proc")?;
    let dev = dev::mount(root, description.devices, machine, &|dest| {
        prepared.has(dest)
    })?;
    let sys = if prepared.has("/sys") {
        None
    } else {
        Some(cgroupfs::mount_sys(root, description, machine)?)
    };
    for mount in &prepared.mounts {
        put(root, mount)?;
    }
    if description.confined {
        proc::cover(&proc, sys.as_ref(), &dev)?;
    }
    if description.root_readonly {
        sys::set_mount_attributes(root, MountAttrFlags::MOUNT_ATTR_RDONLY, false).at("/")?;
    }
    Ok(())
}

fn put(root: &OwnedFd, mount: &PreparedMount) -> Result<(), Failure> {
    let place = open_or_make(root.as_fd(), &mount.dest, mount.is_dir).at(&mount.dest)?;
    refuse_proc(&place, &mount.dest)?;
    let Some(content) = &mount.content else {
        return Ok(put_tmpfs(root, &place, mount).at(&mount.dest)?);
    };
    attach(content, place).at(&mount.dest)?;
    Ok(())
}

/// Refuses a place that lies in `/proc` after all: a link of the image, or of a directory that another
/// step is changing, leads there. What programs read and write in `/proc` must be the kernel's.
fn refuse_proc(place: &OwnedFd, dest: &RootedPath) -> Result<(), Failure> {
    let file_system = rustix::fs::fstatfs(place)
        .map_err(io::Error::from)
        .at(dest)?;
    if file_system.f_type == PROC_SUPER_MAGIC {
        return Err(Failure::Sandbox(format!(
            "cannot mount at {dest}: the place is taken by the sandbox"
        )));
    }
    Ok(())
}

fn put_tmpfs(root: &OwnedFd, place: &OwnedFd, mount: &PreparedMount) -> io::Result<()> {
    let mut tmpfs = libmount::Tmpfs::new(by_descriptor(place));
    if let Some(size) = mount.size_bytes {
        tmpfs = tmpfs.size_bytes(usize::try_from(size).unwrap_or(usize::MAX));
    }
    tmpfs
        .mount()
        .map_err(|error| io::Error::other(error.to_string()))?;
    // `place` is what lies underneath; the new file system is found by looking again.
    let mounted = in_root::open(root, &mount.dest)?;
    sys::set_mount_attributes(mounted, mount.attributes, false)
}

/// Opens the place of a mount, making it and its parents where an earlier mount lacks them. (Those
/// of the root were made before.)
pub(super) fn open_or_make(
    root: BorrowedFd<'_>,
    path: &RootedPath,
    is_dir: bool,
) -> io::Result<OwnedFd> {
    match in_root::open(root, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let parent = open_or_make(root, &parent, true)?;
    if is_dir {
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(rustix::fs::openat(
            &parent,
            name,
            flags,
            Mode::from_raw_mode(0o644),
        )?);
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&parent, name, flags, Mode::empty())?)
}

/// Makes `root`, which is mounted somewhere, the root of this process and drops the old one.
///
/// With the new root as the current directory for both arguments, the old one ends up mounted on
/// top of the new one, so that no directory of the image has to receive it.
pub(super) fn pivot(root: &OwnedFd) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")?;
    Ok(())
}

/// Says whether an error only means that the kernel lacks something.
pub(super) fn is_absent(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::NODEV, Errno::NOSYS]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
