//! `/dev`: a tmpfs with the nodes that every program expects, and the file systems in it
//! (row EXC-36).

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use lamina_types::IoContext;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::mount::MountAttrFlags;

use super::Machine;
use super::mounts::INERT;
use super::mounts::attach;
use super::mounts::system_place;
use crate::detached::by_descriptor;
use crate::detached::new_mount;
use crate::wire::Devices;
use crate::wire::Failure;

/// Character devices that every step has: name, major, minor.
const NODES: [(&str, u32, u32); 6] = [
    ("full", 1, 7),
    ("null", 1, 3),
    ("random", 1, 8),
    ("tty", 5, 0),
    ("urandom", 1, 9),
    ("zero", 1, 5),
];

/// Further character devices of unconfined steps, where the host has them.
const PRIVILEGED_NODES: [(&str, u32, u32); 6] = [
    ("cuse", 10, 203),
    ("fuse", 10, 229),
    ("kmsg", 1, 11),
    ("kvm", 10, 232),
    ("loop-control", 10, 237),
    ("net/tun", 10, 200),
];

/// Loop devices of unconfined steps, from the first that is free on (row EXC-33).
const SPARE_LOOP_DEVICES: u32 = 8;

/// Where the kernel lists loop devices.
const BLOCK_DEVICES: &str = "/sys/block";

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

/// Mounts `/dev` and returns it. `replaced` says which places the caller fills itself.
pub(super) fn mount(
    root: &OwnedFd,
    devices: Devices,
    machine: &Machine,
    replaced: &dyn Fn(&str) -> bool,
) -> Result<OwnedFd, Failure> {
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    if devices == Devices::NoDev {
        attributes |= MountAttrFlags::MOUNT_ATTR_NODEV;
    }
    let options = [("mode", "755"), ("size", "65536k")];
    let dev = new_mount("tmpfs", &options, attributes).at("/dev")?;
    attach(&dev, system_place(root, "/dev")?).at("/dev")?;
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &dev, name).at(format!("/dev/{name}"))?;
    }
    for (name, major, minor) in NODES {
        node(
            &dev,
            name,
            FileType::CharacterDevice,
            (major, minor),
            devices,
        )
        .at(format!("/dev/{name}"))?;
    }
    if devices == Devices::All {
        privileged_nodes(&dev);
    }
    inner(&dev, machine, replaced)?;
    Ok(dev)
}

/// Makes a node; where nodes do not work, binds the host's.
fn node(
    dev: &OwnedFd,
    name: &str,
    kind: FileType,
    (major, minor): (u32, u32),
    devices: Devices,
) -> io::Result<()> {
    if devices != Devices::NoDev {
        let mode = Mode::from_raw_mode(if kind == FileType::BlockDevice {
            0o660
        } else {
            0o666
        });
        let number = rustix::fs::makedev(major, minor);
        match rustix::fs::mknodat(dev, name, kind, mode, number) {
            Err(rustix::io::Errno::PERM) => {}
            result => return Ok(result?),
        }
    }
    bind_from_host(dev, name)
}

fn bind_from_host(dev: &OwnedFd, name: &str) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    drop(rustix::fs::openat(
        dev,
        name,
        flags,
        Mode::from_raw_mode(0o666),
    )?);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::openat(dev, name, flags, Mode::empty())?;
    let target = by_descriptor(&place);
    libmount::BindMount::new(format!("/dev/{name}"), target)
        .mount()
        .map_err(|error| io::Error::other(error.to_string()))
}

/// What the host lacks, an unconfined step lacks too.
fn privileged_nodes(dev: &OwnedFd) {
    rustix::fs::mkdirat(dev, c"net", Mode::from_raw_mode(0o755)).ok();
    for (name, major, minor) in PRIVILEGED_NODES {
        let made = node(
            dev,
            name,
            FileType::CharacterDevice,
            (major, minor),
            Devices::All,
        );
        drop(made);
    }
    let free = first_free_loop_device(Path::new(BLOCK_DEVICES));
    for number in 0..free + SPARE_LOOP_DEVICES {
        let name = format!("loop{number}");
        drop(node(
            dev,
            &name,
            FileType::BlockDevice,
            (7, number),
            Devices::All,
        ));
    }
}

/// Returns the number of the first loop device that has no file.
fn first_free_loop_device(devices: &Path) -> u32 {
    let is_free = |number: &u32| {
        let file = devices.join(format!("loop{number}/loop/backing_file"));
        !file.exists()
    };
    // The kernel has room for no more minor numbers.
    (0..1 << 20).find(is_free).unwrap_or_default()
}

/// Mounts the file systems in `/dev`.
fn inner(dev: &OwnedFd, machine: &Machine, replaced: &dyn Fn(&str) -> bool) -> Result<(), Failure> {
    let terminals = terminals(machine).at("/dev/pts")?;
    put(dev, "pts", 0o755, &terminals)?;
    if !replaced("/dev/shm") {
        let options = [("mode", "1777"), ("size", "65536k")];
        put(
            dev,
            "shm",
            0o1777,
            &new_mount("tmpfs", &options, INERT).at("/dev/shm")?,
        )?;
    }
    if !replaced("/dev/mqueue") {
        match new_mount("mqueue", &[], INERT) {
            Ok(queues) => put(dev, "mqueue", 0o1777, &queues)?,
            Err(error) if super::mounts::is_absent(&error) => {}
            Err(error) => return Err(Failure::during("/dev/mqueue", error)),
        }
    }
    Ok(())
}

/// Makes a devpts of the step's own. Group 5, the terminal group, may not be mapped.
fn terminals(machine: &Machine) -> io::Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    match new_mount("devpts", &options, attributes) {
        Err(_) if machine.in_user_namespace => new_mount("devpts", &options[..2], attributes),
        result => result,
    }
}

fn put(dev: &OwnedFd, name: &str, mode: u32, mount: &OwnedFd) -> Result<(), Failure> {
    let path = format!("/dev/{name}");
    rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(mode)).at(&path)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::openat(dev, name, flags, Mode::empty()).at(&path)?;
    Ok(attach(mount, place).at(&path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loop_devices_in_use_are_counted() {
        let devices = tempfile::tempdir().expect("a folder");
        assert_eq!(first_free_loop_device(devices.path()), 0);
        for number in [0, 1, 3] {
            let folder = devices.path().join(format!("loop{number}/loop"));
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(folder.join("backing_file"), "/disk").expect("written");
        }
        assert_eq!(first_free_loop_device(devices.path()), 2);
    }
}
