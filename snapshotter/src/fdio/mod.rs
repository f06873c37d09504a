//! Directory file descriptors: one name at a time, never following.
//!
//! Every function takes an open directory and one component. No function here is given a path of
//! several components, so nothing that an image contains can lead out of it.

mod data;
mod stat;

use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::StatxFlags;
use rustix::io::Errno;
use rustix::io::Result;

pub(crate) use self::data::copy_data;
pub(crate) use self::data::copy_data_while;
pub(crate) use self::stat::RawStat;

/// Describes `name` in `dir` as the disk does; `None` if there is no such name.
pub(crate) fn stat_at(dir: impl AsFd, name: &[u8]) -> Result<Option<RawStat>> {
    match rustix::fs::statx(
        dir,
        name,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::BASIC_STATS,
    ) {
        Ok(stat) => Ok(Some(stat.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Describes what is open behind `fd` as the disk does.
pub(crate) fn stat_fd(fd: impl AsFd) -> Result<RawStat> {
    rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map(RawStat::from)
}

/// Opens the directory `name` for look-ups only.
pub(crate) fn open_dir(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Opens the directory `name` so that its metadata can be changed through the descriptor.
pub(crate) fn open_dir_readable(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Opens `name` itself, whatever it is, without any access to its data.
pub(crate) fn open_path(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Opens the data of `name` for reading; never blocks on a fifo or a device.
pub(crate) fn open_data(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Returns the target of the symlink `name`.
pub(crate) fn read_link(dir: impl AsFd, name: &[u8]) -> Result<Vec<u8>> {
    rustix::fs::readlinkat(dir, name, Vec::new()).map(std::ffi::CString::into_bytes)
}

/// Names that are read before the caller is asked whether to go on.
const NAMES_PER_QUESTION: usize = 4 << 10;

/// One name of a directory as `getdents` gives it.
pub(crate) struct RawName {
    pub(crate) name: Vec<u8>,
    pub(crate) hint: FileType,
    pub(crate) inode: u64,
}

impl RawName {
    /// Says whether this can be a whiteout, so that it is worth a `statx`.
    pub(crate) fn may_be_whiteout(&self) -> bool {
        matches!(self.hint, FileType::CharacterDevice | FileType::Unknown)
    }
}

/// Lists `dir` without `.` and `..`, in no order.
pub(crate) fn read_names(dir: impl AsFd) -> Result<Vec<RawName>> {
    let mut names = Vec::new();
    each_name(dir, |raw| {
        names.push(raw);
        Ok(())
    })?;
    Ok(names)
}

/// As [`read_names`], asking `go_on` every now and then; its error ends the listing.
pub(crate) fn read_names_while(
    dir: impl AsFd,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<Vec<RawName>> {
    let mut names = Vec::new();
    each_name(dir, |raw| {
        names.push(raw);
        match names.len() % NAMES_PER_QUESTION {
            0 => go_on(),
            _ => Ok(()),
        }
    })?;
    Ok(names)
}

/// Calls `each` for every name in `dir` but `.` and `..`, in no order; its error ends the listing.
pub(crate) fn each_name(dir: impl AsFd, mut each: impl FnMut(RawName) -> Result<()>) -> Result<()> {
    // A descriptor of its own: `dir` may be for look-ups only, and others may be reading it too.
    for entry in Dir::new(open_dir_readable(dir, b".")?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            each(RawName {
                name: name.to_vec(),
                hint: entry.file_type(),
                inode: entry.ino(),
            })?;
        }
    }
    Ok(())
}

/// Returns a path by which the kernel reaches exactly what is open behind `fd`.
///
/// For calls that have no form with a descriptor, or none for `O_PATH`. Following this path ends at
/// the object itself, even if that is a symlink.
/// The path is good for as long as the descriptor, which is why this only borrows it.
pub(crate) fn proc_path(fd: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// Says whether `name` is one component that can be made: not empty, not `.` or `..`, no `/`, no NUL.
pub(crate) fn is_plain_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}
