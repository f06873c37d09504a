//! Who asks.

use rustix::io::Errno;
use rustix::io::Result;

/// The bit of `SIGKILL` in the masks of `/proc/<pid>/status`.
const KILL: u64 = 1 << 8;

/// The process whose system call became a request.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: u32,
}

impl Caller {
    /// Says whether the process may leave marks of the group `gid` on its files: as one of its members,
    /// or as root.
    pub(super) fn is_in_group(&self, gid: u32) -> bool {
        self.uid == 0 || self.gid == gid || self.status().is_ok_and(|text| lists(&text, gid))
    }

    fn status(&self) -> std::io::Result<String> {
        std::fs::read_to_string(format!("/proc/{}/status", self.pid))
    }

    /// Fails with `EINTR` if the process is to die, so that nobody waits for what is being done.
    ///
    /// The library answers the kernel's interrupts itself, so this looks at the process.
    pub(super) fn still_waits(&self) -> Result<()> {
        // No number: the kernel itself, or a process of another namespace.
        if self.pid == 0 {
            return Ok(());
        }
        match self.status().is_ok_and(|status| is_killed(&status)) {
            true => Err(Errno::INTR),
            false => Ok(()),
        }
    }
}

/// Reads the supplementary groups.
fn lists(status: &str, gid: u32) -> bool {
    let mut lines = status.lines();
    let groups = lines.find_map(|line| line.strip_prefix("Groups:"));
    let mut groups = groups.into_iter().flat_map(str::split_ascii_whitespace);
    groups.any(|group| group.parse() == Ok(gid))
}

/// Reads the masks of pending signals.
fn is_killed(status: &str) -> bool {
    let masks = status.lines().filter_map(|line| {
        let mask = line.strip_prefix("SigPnd:");
        mask.or_else(|| line.strip_prefix("ShdPnd:"))
    });
    masks
        .filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .any(|mask| mask & KILL != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_whole_numbers() {
        for (status, expected) in [
            ("Gid:\t7\t7\t7\t7\nGroups:\t4 70 100 \n", false),
            ("Groups:\t4 7 100 \n", true),
            ("Groups:\t \n", false),
            ("", false),
        ] {
            assert_eq!(lists(status, 7), expected, "{status:?}");
        }
    }

    #[test]
    fn only_a_pending_kill_counts() {
        for (status, expected) in [
            ("Name:\tsh\nSigPnd:\t0000000000000100\nShdPnd:\t0\n", true),
            ("SigPnd:\t0\nShdPnd:\t0000000000000100\n", true),
            (
                "SigPnd:\t0000000000004000\nShdPnd:\t0\nSigBlk:\t100\n",
                false,
            ),
            ("SigPnd:\twhat\n", false),
            ("", false),
        ] {
            assert_eq!(is_killed(status), expected, "{status:?}");
        }
    }
}
