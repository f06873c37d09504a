//! Which process has a state folder.
//!
//! The owner of a state folder holds the lock on its file `lock` (docs/format.md); who waits for it
//! wants to know whom to ask. The kernel lists the locks of all processes in `/proc/locks`:
//!
//! ```text
//! 1: FLOCK  ADVISORY  WRITE 1234 fe:00:12001391 0 EOF
//!                           pid  device:inode; a line with -> is one who waits
//! ```

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Says what this process waits for: the process that has the state folder `root`, with its number if
/// it can be seen from here.
#[must_use]
pub fn waiting_for(root: &Path) -> String {
    let holder = holder(root).map_or_else(String::new, |pid| format!(" (pid {pid})"));
    let root = root.display();
    format!("waiting for another process{holder} that uses {root}")
}

/// Returns the process that has the state folder `root`; `None` if nobody has it, or somebody whom
/// this process cannot see.
fn holder(root: &Path) -> Option<u32> {
    let inode = fs::metadata(root.join("lock")).ok()?.ino();
    find(&fs::read_to_string("/proc/locks").ok()?, inode)
}

/// Finds who holds the lock on a file. Devices are not compared: those of some file systems have
/// another number here than `stat` tells.
fn find(locks: &str, inode: u64) -> Option<u32> {
    let holder = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["FLOCK", _, "WRITE", pid, file, ..] = *words.get(1..)? else {
            return None;
        };
        let found: u64 = file.rsplit(':').next()?.parse().ok()?;
        // Processes outside of this one's namespace have the number 0.
        let pid = pid.parse().ok().filter(|&pid| pid != 0)?;
        (found == inode).then_some(pid)
    };
    locks.lines().find_map(holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_among_those_who_wait() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fe:00:7 0 EOF\n\
                     2: FLOCK  ADVISORY  READ 12 fe:00:7 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13 fe:00:8 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 14 fe:00:7 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 15 fe:00:7 0 EOF\n\
                     5: FLOCK  ADVISORY  WRITE 0 fe:00:9 0 EOF\n\
                     nonsense\n\n6: FLOCK\n";
        assert_eq!(find(locks, 7), Some(15));
        assert_eq!(find(locks, 8), Some(13));
        assert_eq!(find(locks, 9), None);
        assert_eq!(find(locks, 10), None);
    }

    #[test]
    fn this_process_finds_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(holder(folder.path()), None);
        let lock = fs::File::create(folder.path().join("lock")).expect("made");
        assert_eq!(holder(folder.path()), None);
        lock.lock().expect("locked");
        assert_eq!(holder(folder.path()), Some(std::process::id()));
    }
}
