//! Which devices a confined step may open.
//!
//! A step may make device nodes (CAP_MKNOD is in Docker's default set), so something has to refuse
//! the disks. Version 1 has a controller for it. Where that is missing, the sandbox mounts the
//! step's files so that nodes in them do nothing.

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::BorrowedFd;

use rustix::fs::Mode;
use rustix::fs::OFlags;

use super::tree::Hierarchy;

/// Makes nodes of any kind, and opens null, zero, full, random, urandom, tty, console, ptmx and
/// the terminals of /dev/pts.
///
/// Also tun (10:200), of no use without CAP_NET_ADMIN: runc allows it in the groups that it makes
/// inside ours, which may not allow more than ours.
const RULES: [&str; 12] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
];

/// Limits the devices of a new group; says whether it did.
pub(super) fn restrict(hierarchy: &Hierarchy, dir: BorrowedFd<'_>) -> bool {
    hierarchy.has("devices") && write_rules(dir).is_ok()
}

fn write_rules(dir: BorrowedFd<'_>) -> io::Result<()> {
    write(dir, "devices.deny", "a")?;
    RULES
        .iter()
        .try_for_each(|rule| write(dir, "devices.allow", rule))
}

/// The kernel takes one rule in one write.
fn write(dir: BorrowedFd<'_>, name: &str, rule: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?).write_all(rule.as_bytes())
}
