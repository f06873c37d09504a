//! Adding up what a directory takes.
//!
//! Cache directories are written to by steps, of which one may start while its directory is walked. So
//! links are never followed: every directory is opened below the one before it, and the way back up is
//! checked to lead where the way down began. One directory is open at a time, however deep the tree.

use std::collections::HashSet;
use std::ffi::CStr;
use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Stat;
use rustix::io::Result;

/// What `stat` counts blocks in.
const BLOCK_BYTES: u64 = 512;

/// Device and number.
type Inode = (u64, u64);

/// A directory on the way to the open one.
struct Level {
    inode: Inode,
    /// Directories in it that were not walked yet.
    left: Vec<CString>,
}

/// What was counted so far, each inode once.
#[derive(Default)]
struct Count {
    inodes: HashSet<Inode>,
    bytes: u64,
}

/// Adds up what is in the directory `tree`, without itself. What vanishes meanwhile does not count,
/// nor does what is not visited yet when a directory is moved away under the walk.
///
/// # Errors
/// If a directory that is open cannot be described.
pub fn size_bytes(tree: OwnedFd) -> Result<u64> {
    let mut count = Count::default();
    let mut levels = vec![count.level(&tree)?];
    let mut open = tree;
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.left.pop() {
            if let Ok(below) = open_dir(&open, &name) {
                levels.push(count.level(&below)?);
                open = below;
            }
            continue;
        }
        levels.pop();
        let Some(parent) = levels.last() else { break };
        open = open_dir(&open, c"..")?;
        if inode(&rustix::fs::fstat(&open)?) != parent.inode {
            break;
        }
    }
    Ok(count.bytes)
}

impl Count {
    /// Counts what is in a directory. One that cannot be listed counts as empty.
    fn level(&mut self, dir: &OwnedFd) -> Result<Level> {
        let mut left = Vec::new();
        for entry in Dir::read_from(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            // Of the entry itself, never of what a link leads to.
            let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if self.inodes.insert(inode(&stat)) {
                self.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK_BYTES;
            }
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                left.push(name.to_owned());
            }
        }
        let inode = inode(&rustix::fs::fstat(dir)?);
        Ok(Level { inode, left })
    }
}

fn inode(stat: &Stat) -> Inode {
    (stat.st_dev, stat.st_ino)
}

fn open_dir(dir: &OwnedFd, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        fs::File::open(path).expect("a folder").into()
    }

    #[test]
    fn inodes_count_once_and_links_are_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (tree, outside) = (folder.path().join("tree"), folder.path().join("outside"));
        fs::create_dir(&tree).expect("a folder");
        fs::create_dir(&outside).expect("a folder");
        fs::write(outside.join("large"), [1; 1 << 20]).expect("a file");
        fs::create_dir(tree.join("d")).expect("a folder");
        fs::write(tree.join("d/file"), [1; 10_000]).expect("a file");
        let once = size_bytes(open(&tree)).expect("counted");
        assert!((10_000..100_000).contains(&once), "{once}");
        fs::hard_link(tree.join("d/file"), tree.join("again")).expect("a link");
        std::os::unix::fs::symlink(&outside, tree.join("link")).expect("a link");
        let more = size_bytes(open(&tree)).expect("counted");
        assert!(more < once + 100_000, "{more}");
    }

    #[test]
    fn a_directory_that_became_a_link_is_not_entered() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/", folder.path().join("d")).expect("a link");
        assert!(open_dir(&open(folder.path()), c"d").is_err());
    }

    /// Deeper than any path may be long.
    #[test]
    fn deep_trees_are_counted_to_the_bottom() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut dir = open(folder.path());
        for _ in 0..600 {
            rustix::fs::mkdirat(&dir, c"0123456789", Mode::RWXU).expect("a folder");
            dir = open_dir(&dir, c"0123456789").expect("opens");
        }
        let flags = OFlags::WRONLY | OFlags::CREATE;
        let file = rustix::fs::openat(&dir, c"file", flags, Mode::RWXU).expect("a file");
        rustix::io::write(&file, &[1; 1 << 20]).expect("written");
        drop((file, dir));
        let bytes = size_bytes(open(folder.path())).expect("counted");
        assert!(bytes >= 1 << 20, "{bytes}");
    }
}
