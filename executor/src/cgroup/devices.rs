//! Which devices a confined step may open.
//!
//! A step may make device nodes (CAP_MKNOD is in Docker's default set), so something has to refuse
//! the disks. Version 1 has a controller for it, version 2 asks a [`program`]. Where neither can be
//! had, the sandbox mounts the step's files so that nodes in them do nothing.

mod program;

use std::fmt;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::BorrowedFd;

use rustix::fs::Mode;
use rustix::fs::OFlags;

use super::tree::Hierarchy;
use super::tree::Version;
use crate::sys;

/// The two kinds of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Character,
    Block,
}

/// Devices that may be used, and how. `None` stands for any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceRule {
    pub(crate) kind: NodeKind,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    pub(crate) access: Access,
}

/// What may be done with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) make: bool,
}

const ALL: Access = Access {
    read: true,
    write: true,
    make: true,
};

/// Nodes of any kind may be made; null, zero, full, random, urandom, tty, console, ptmx and the
/// terminals of /dev/pts may be used.
///
/// Also tun (10:200), of no use without CAP_NET_ADMIN: runc allows it in the groups that it makes
/// inside ours, which may not allow more than ours.
const USUAL: [DeviceRule; 12] = [
    nodes(NodeKind::Character),
    nodes(NodeKind::Block),
    usable(1, Some(3)),
    usable(1, Some(5)),
    usable(1, Some(7)),
    usable(1, Some(8)),
    usable(1, Some(9)),
    usable(5, Some(0)),
    usable(5, Some(1)),
    usable(5, Some(2)),
    usable(136, None),
    usable(10, Some(200)),
];

const fn nodes(kind: NodeKind) -> DeviceRule {
    DeviceRule {
        kind,
        major: None,
        minor: None,
        access: Access {
            read: false,
            write: false,
            make: true,
        },
    }
}

const fn usable(major: u32, minor: Option<u32>) -> DeviceRule {
    DeviceRule {
        kind: NodeKind::Character,
        major: Some(major),
        minor,
        access: ALL,
    }
}

/// Limits the devices of a new group to the usual ones and `more`; says whether it did.
///
/// Of `trees`, all that there are, one with the controller of version 1 decides for all.
pub(super) fn restrict(
    hierarchy: &Hierarchy,
    trees: &[Hierarchy],
    dir: BorrowedFd<'_>,
    more: &[DeviceRule],
) -> bool {
    let rules: Vec<DeviceRule> = USUAL.iter().chain(more).copied().collect();
    let limited = match hierarchy.version {
        Version::One if hierarchy.has("devices") => write_rules(dir, &rules),
        Version::Two if !trees.iter().any(|tree| tree.has("devices")) => {
            sys::load_device_program(&program::instructions(&rules))
                .and_then(|program| sys::attach_device_program(dir, &program))
        }
        Version::One | Version::Two => return false,
    };
    if let Err(error) = &limited {
        tracing::debug!(%error, "devices are not limited by control groups");
    }
    limited.is_ok()
}

/// Says whether programs for devices can be loaded.
pub(super) fn can_load_programs() -> io::Result<()> {
    sys::load_device_program(&program::instructions(&USUAL)).map(drop)
}

fn write_rules(dir: BorrowedFd<'_>, rules: &[DeviceRule]) -> io::Result<()> {
    write(dir, "devices.deny", "a")?;
    rules
        .iter()
        .try_for_each(|rule| write(dir, "devices.allow", &rule.to_string()))
}

/// The kernel takes one rule in one write.
fn write(dir: BorrowedFd<'_>, name: &str, rule: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?).write_all(rule.as_bytes())
}

/// The form of version 1: `c 1:3 rwm`.
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            NodeKind::Character => 'c',
            NodeKind::Block => 'b',
        };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
        let access: String = [
            (self.access.read, 'r'),
            (self.access.write, 'w'),
            (self.access.make, 'm'),
        ]
        .into_iter()
        .filter_map(|(may, letter)| may.then_some(letter))
        .collect();
        let (major, minor) = (number(self.major), number(self.minor));
        write!(f, "{kind} {major}:{minor} {access}")
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::Cgroups;
    use super::super::Request;
    use super::super::tree::hierarchies;
    use super::*;
    use crate::Resources;

    /// A process in the group opens these; says for each whether it could.
    fn opens(group: &std::path::Path, devices: &[&str]) -> Vec<bool> {
        let procs = group.join("cgroup.procs");
        let opens = |device: &&str| {
            let script = format!("echo 0 > {} && : < {device}", procs.display());
            let status = Command::new("sh").args(["-c", &script]).output();
            status.expect("a shell").status.success()
        };
        devices.iter().map(opens).collect()
    }

    #[test]
    fn version_2_keeps_steps_from_devices() {
        let only_2 = hierarchies()
            .into_iter()
            .filter(|tree| tree.version == Version::Two)
            .collect();
        let groups = Cgroups {
            hierarchies: only_2,
            max_processes: None,
        };
        let kernel_log = DeviceRule {
            access: ALL,
            ..usable(1, Some(11))
        };
        for (name, more, expected) in [
            ("usual", &[][..], [true, true, false]),
            ("with another", &[kernel_log][..], [true, true, true]),
        ] {
            let id = format!("{}-{}", std::process::id(), more.len());
            let step = groups.make(&Request {
                parent: "",
                id: &id,
                confined: true,
                everywhere: false,
                resources: &Resources::default(),
                devices: more,
            });
            let step = step.expect("nothing is refused");
            if !step.restricts_devices {
                let reason = can_load_programs().err().map(|error| error.to_string());
                #[expect(clippy::print_stdout, reason = "tests say why they did nothing")]
                {
                    println!(
                        "skipped: {}",
                        reason.unwrap_or("no group of version 2".to_owned())
                    );
                }
                return;
            }
            let opened = opens(
                &step.groups[0].path,
                &["/dev/null", "/dev/zero", "/dev/kmsg"],
            );
            assert_eq!(opened, expected, "{name}");
        }
        groups.remove_parent();
    }

    #[test]
    fn rules_have_the_form_of_version_1() {
        let shown: Vec<String> = USUAL.iter().map(ToString::to_string).collect();
        assert_eq!(shown[..3], ["c *:* m", "b *:* m", "c 1:3 rwm"], "{shown:?}");
        assert!(shown.contains(&"c 136:* rwm".to_owned()));
    }
}
