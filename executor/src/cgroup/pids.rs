//! How many processes and threads a step may have.
//!
//! A step that forks without end would take the numbers of all others on the machine. Its control
//! group has an end of its own. Where a step has no group, as under most ordinary users, its pid
//! namespace has one instead: newer kernels (6.14) keep `kernel.pid_max` for each, see
//! [`crate::sandbox`].

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::BorrowedFd;

use rustix::fs::Mode;
use rustix::fs::OFlags;

/// The most that [`ProcessLimit::Auto`] gives: what builds on machines with hundreds of processors
/// still stay below, threads included.
const MOST: u32 = 16_384;

/// How many processes and threads one step may have at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessLimit {
    /// 16,384, or a quarter of what the kernel allows the whole machine if that is less.
    #[default]
    Auto,
    /// This many.
    At(u32),
    /// As many as the kernel allows.
    Unlimited,
}

impl ProcessLimit {
    /// Returns the number, `None` for any.
    pub(crate) fn number(self) -> Option<u32> {
        match self {
            Self::Auto => Some(automatic(of_machine("pid_max"), of_machine("threads-max"))),
            Self::At(number) => Some(number),
            Self::Unlimited => None,
        }
    }
}

fn automatic(pids: Option<u32>, threads: Option<u32>) -> u32 {
    let quarter = |most: u32| (most / 4).max(1);
    [pids, threads]
        .into_iter()
        .flatten()
        .map(quarter)
        .fold(MOST, u32::min)
}

fn of_machine(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
    text.trim().parse().ok()
}

/// Limits a new group; says whether it did, which only groups with the controller can.
pub(super) fn restrict(dir: BorrowedFd<'_>, limit: u32) -> bool {
    write(dir, limit).is_ok()
}

fn write(dir: BorrowedFd<'_>, limit: u32) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, c"pids.max", flags, Mode::empty())?;
    File::from(file).write_all(limit.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_automatic_limit_leaves_room_for_others() {
        for (name, pids, threads, expected) in [
            ("nothing known", None, None, MOST),
            ("a large machine", Some(4_194_304), Some(2_000_000), MOST),
            ("few numbers", Some(32_768), Some(192_730), 8_192),
            ("few threads", Some(4_194_304), Some(7_000), 1_750),
            ("hardly any", Some(1), None, 1),
        ] {
            assert_eq!(automatic(pids, threads), expected, "{name}");
        }
        assert_eq!(ProcessLimit::Unlimited.number(), None);
        assert_eq!(ProcessLimit::At(7).number(), Some(7));
    }
}
