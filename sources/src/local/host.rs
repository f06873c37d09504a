//! Looking at the client's directory: one name at a time, by directory descriptor, never following.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::Dir;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::StatxFlags;
use rustix::io::Errno;
use rustix::io::Result;

use lamina_types::FileKind;

/// What is remembered of a file in order to see whether it has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fingerprint {
    pub(super) kind: FileKind,
    /// Twelve bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) mtime_ns: i128,
    /// Changes with every change of content or metadata, and cannot be set by programs.
    pub(super) ctime_ns: i128,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) links: u32,
    /// Major and minor number of a device.
    pub(super) node: (u32, u32),
}

const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Opens the directory itself; the user may have named it through symlinks.
pub(super) fn open_root(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, DIR_FLAGS, Mode::empty())
}

/// Opens a child directory.
pub(super) fn open_dir(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    rustix::fs::openat(parent, name, DIR_FLAGS | OFlags::NOFOLLOW, Mode::empty())
}

/// Opens a directory below `root` by a path without symlinks; empty = `root` itself.
pub(super) fn open_below(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd> {
    let mut dir = open_dir(root, b".")?;
    for name in path.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
        dir = open_dir(&dir, name)?;
    }
    Ok(dir)
}

/// Opens a regular file's data; a fifo in its place does not block.
pub(super) fn open_file(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Returns the names in a directory, sorted.
pub(super) fn names(dir: &OwnedFd) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn symlink_target(parent: impl AsFd, name: &[u8]) -> Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes())
}

/// Looks at a name without following it.
pub(super) fn look(parent: impl AsFd, name: &[u8]) -> Result<Fingerprint> {
    fingerprint(parent, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Looks at what is open.
pub(super) fn look_opened(file: impl AsFd) -> Result<Fingerprint> {
    fingerprint(file, b"", AtFlags::EMPTY_PATH)
}

fn fingerprint(dir: impl AsFd, name: &[u8], flags: AtFlags) -> Result<Fingerprint> {
    let found = rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS)?;
    let time = |time: rustix::fs::StatxTimestamp| {
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    };
    Ok(Fingerprint {
        kind: kind(u32::from(found.stx_mode)).ok_or(Errno::INVAL)?,
        mode: u32::from(found.stx_mode) & 0o7777,
        uid: found.stx_uid,
        gid: found.stx_gid,
        size: found.stx_size,
        mtime_ns: time(found.stx_mtime),
        ctime_ns: time(found.stx_ctime),
        device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
        inode: found.stx_ino,
        links: found.stx_nlink,
        node: (found.stx_rdev_major, found.stx_rdev_minor),
    })
}

fn kind(mode: u32) -> Option<FileKind> {
    use rustix::fs::FileType;
    Some(match FileType::from_raw_mode(mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::CharacterDevice => FileKind::CharDevice,
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::Socket => FileKind::Socket,
        _ => return None,
    })
}

/// Says that something was there a moment ago: files of a live directory come and go.
pub(super) fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR)
}
