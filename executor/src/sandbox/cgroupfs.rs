//! `/sys` and the control groups in it (row EXC-36).

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use lamina_types::IoContext;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::mount::MountAttrFlags;

use super::Machine;
use super::mounts::INERT;
use super::mounts::attach;
use super::mounts::clone_tree;
use super::mounts::system_place;
use crate::cgroup::Hierarchy;
use crate::cgroup::Version;
use crate::detached::new_mount;
use crate::sys;
use crate::wire::Description;
use crate::wire::Failure;

/// Mounts `/sys`, with the control groups as the host has them, and returns it.
pub(super) fn mount_sys(
    root: &OwnedFd,
    description: &Description,
    machine: &Machine,
) -> Result<OwnedFd, Failure> {
    let attributes = if description.confined {
        INERT | MountAttrFlags::MOUNT_ATTR_RDONLY
    } else {
        INERT
    };
    let (sys, is_host_tree) = sysfs(attributes).at("/sys")?;
    attach(&sys, system_place(root, "/sys")?).at("/sys")?;
    if !is_host_tree {
        // A kernel or container without control groups is no reason to refuse a step.
        if let Err(error) = cgroups(root, attributes, machine) {
            tracing::debug!(%error, "no control groups in the step");
        }
    }
    Ok(sys)
}

/// Makes a new sysfs. Where only its owner's network namespace would allow that (a user namespace
/// on the host's network), copies the host's tree with everything mounted in it.
fn sysfs(attributes: MountAttrFlags) -> io::Result<(OwnedFd, bool)> {
    match new_mount("sysfs", &[], attributes) {
        Ok(sys) => Ok((sys, false)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let copy = clone_tree(rustix::fs::open(c"/sys", flags, Mode::empty())?)?;
            sys::set_mount_attributes(&copy, attributes, true)?;
            Ok((copy, true))
        }
        Err(error) => Err(error),
    }
}

fn cgroups(root: &OwnedFd, attributes: MountAttrFlags, machine: &Machine) -> io::Result<()> {
    let top = Path::new("/sys/fs/cgroup");
    let Some(first) = machine.hierarchies.first() else {
        return Ok(());
    };
    let place = system_place(root, "/sys/fs/cgroup").map_err(|_| io::ErrorKind::NotFound)?;
    if first.mount_point == top {
        return attach(new_mount("cgroup2", &[], attributes)?, place);
    }
    let without_read_only = attributes.difference(MountAttrFlags::MOUNT_ATTR_RDONLY);
    let tmpfs = new_mount("tmpfs", &[("mode", "755")], without_read_only)?;
    attach(&tmpfs, place)?;
    for hierarchy in &machine.hierarchies {
        if let Ok(name) = hierarchy.mount_point.strip_prefix(top) {
            one(&tmpfs, name, hierarchy, attributes)?;
        }
    }
    Ok(())
}

fn one(
    tmpfs: &OwnedFd,
    name: &Path,
    hierarchy: &Hierarchy,
    attributes: MountAttrFlags,
) -> io::Result<()> {
    let mount = match hierarchy.version {
        Version::Two => new_mount("cgroup2", &[], attributes)?,
        Version::One => {
            let options: Vec<(&str, &str)> = hierarchy
                .controllers
                .iter()
                .map(|controller| controller.split_once('=').unwrap_or((controller, "")))
                .collect();
            new_mount("cgroup", &options, attributes)?
        }
    };
    rustix::fs::mkdirat(tmpfs, name, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    attach(
        mount,
        rustix::fs::openat(tmpfs, name, flags, Mode::empty())?,
    )?;
    // Controllers that share a tree are also found under their own names.
    if hierarchy.controllers.len() > 1 {
        for controller in &hierarchy.controllers {
            rustix::fs::symlinkat(name, tmpfs, controller.as_str())?;
        }
    }
    Ok(())
}
