//! Directory file descriptors: one name at a time, never following.
//!
//! Every function takes an open directory and one component. No function here is given a path of
//! several components, so nothing that an image contains can lead out of it.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::SeekFrom;
use rustix::fs::Statx;
use rustix::fs::StatxFlags;
use rustix::io::Errno;
use rustix::io::Result;

/// What `statx` says of one name, as far as it matters here.
#[derive(Clone, Copy)]
pub(crate) struct RawStat {
    mode: u32,
    owner: (u32, u32),
    size: u64,
    blocks: u64,
    nlink: u32,
    inode: u64,
    device: u64,
    rdev: DeviceNumber,
    atime: (i64, u32),
    mtime: (i64, u32),
    ctime: (i64, u32),
}

impl From<Statx> for RawStat {
    fn from(stat: Statx) -> Self {
        Self {
            mode: u32::from(stat.stx_mode),
            owner: (stat.stx_uid, stat.stx_gid),
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            nlink: stat.stx_nlink,
            inode: stat.stx_ino,
            device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            rdev: DeviceNumber {
                major: stat.stx_rdev_major,
                minor: stat.stx_rdev_minor,
            },
            atime: (stat.stx_atime.tv_sec, stat.stx_atime.tv_nsec),
            mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            ctime: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        }
    }
}

impl RawStat {
    pub(crate) fn kind(&self) -> FileKind {
        kind_of_mode(self.mode)
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == FileKind::Directory
    }

    /// A character device 0:0, which overlayfs reads as "deleted".
    pub(crate) fn is_whiteout(&self) -> bool {
        self.kind() == FileKind::CharDevice && self.rdev() == DeviceNumber::default()
    }

    /// Kind and permissions as one number (`st_mode`).
    pub(crate) fn mode(&self) -> u32 {
        self.mode
    }

    pub(crate) fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    pub(crate) fn owner(&self) -> (u32, u32) {
        self.owner
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.blocks.saturating_mul(512)
    }

    pub(crate) fn nlink(&self) -> u64 {
        u64::from(self.nlink)
    }

    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    pub(crate) fn device(&self) -> u64 {
        self.device
    }

    pub(crate) fn rdev(&self) -> DeviceNumber {
        self.rdev
    }

    pub(crate) fn mtime_ns(&self) -> i128 {
        i128::from(self.mtime.0) * 1_000_000_000 + i128::from(self.mtime.1)
    }

    /// Seconds and nanoseconds of the last access.
    pub(crate) fn atime(&self) -> (i64, u32) {
        self.atime
    }

    /// Seconds and nanoseconds of the last change of the content.
    pub(crate) fn mtime(&self) -> (i64, u32) {
        self.mtime
    }

    /// The same file, owned by somebody else.
    pub(crate) fn owned_by(mut self, uid: u32, gid: u32) -> Self {
        self.owner = (uid, gid);
        self
    }

    /// The same inode as something else: with another kind and permissions (`st_mode`), owner and device
    /// number.
    pub(crate) fn described_as(
        mut self,
        mode: u32,
        owner: (u32, u32),
        device: DeviceNumber,
    ) -> Self {
        (self.mode, self.owner, self.rdev) = (mode, owner, device);
        self
    }

    /// The same directory once it is removed.
    pub(crate) fn without_names(mut self) -> Self {
        self.nlink = 0;
        self
    }

    /// The same file with one name less.
    pub(crate) fn with_one_name_less(mut self) -> Self {
        self.nlink = self.nlink.saturating_sub(1);
        self
    }

    /// Seconds and nanoseconds of the last change, which nobody can set.
    pub(crate) fn ctime(&self) -> (i64, u32) {
        self.ctime
    }
}

/// Returns the kind that `mode` (`st_mode`) names; without any it is a regular file.
pub(crate) fn kind_of_mode(mode: u32) -> FileKind {
    match FileType::from_raw_mode(mode) {
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::CharacterDevice => FileKind::CharDevice,
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::Socket => FileKind::Socket,
        _ => FileKind::File,
    }
}

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

/// The most that is copied before the caller is asked whether to go on.
const COPY_STEP_BYTES: u64 = 64 << 20;

/// Room for copying through memory.
const BUFFER_BYTES: usize = 256 << 10;

/// Copies all data of one regular file into another, empty one: by sharing blocks where the file
/// system can, else inside the kernel, else through memory. Holes stay holes.
pub(crate) fn copy_data(from: &File, to: &File) -> std::io::Result<()> {
    copy_data_while(from, to, &|| Ok(()))
}

/// As [`copy_data`], asking `go_on` every now and then; its error ends the copy.
pub(crate) fn copy_data_while(
    from: &File,
    to: &File,
    go_on: &dyn Fn() -> Result<()>,
) -> std::io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let stat = stat_fd(from)?;
    let size = stat.size();
    if stat.allocated_bytes() >= size {
        return copy_range(from, to, (0, size), go_on);
    }
    let mut offset = 0;
    while let Some(extent) = next_extent(from, offset, size)? {
        copy_range(from, to, extent, go_on)?;
        offset = extent.1;
    }
    to.set_len(size)
}

/// Returns where the next data at or after `offset` starts and ends; `None` if only a hole is left.
fn next_extent(file: &File, offset: u64, size: u64) -> Result<Option<(u64, u64)>> {
    if offset >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL) => return Ok(Some((offset, size))),
        Err(error) => return Err(error),
    };
    Ok(Some((
        start,
        rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size),
    )))
}

/// Copies the bytes from `start` to `end`, or to the end of the file if that comes first.
fn copy_range(
    from: &File,
    to: &File,
    (start, end): (u64, u64),
    go_on: &dyn Fn() -> Result<()>,
) -> std::io::Result<()> {
    let (mut read, mut written) = (start, start);
    while read < end {
        let length = usize::try_from((end - read).min(COPY_STEP_BYTES)).unwrap_or(usize::MAX);
        let copied =
            rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), length);
        match copied {
            Ok(0) => break,
            Ok(_) => go_on()?,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return copy_through_memory(from, to, (read, end), go_on);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_through_memory(
    from: &File,
    to: &File,
    (mut offset, end): (u64, u64),
    go_on: &dyn Fn() -> Result<()>,
) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let mut buffer = vec![0; BUFFER_BYTES];
    while offset < end {
        let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let room = buffer.len().min(wanted);
        let length = from.read_at(&mut buffer[..room], offset)?;
        if length == 0 {
            break;
        }
        to.write_all_at(&buffer[..length], offset)?;
        offset += length as u64;
        go_on()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn copies_keep_data_and_holes() {
        const MIB: u64 = 1 << 20;
        for (pieces, size) in [
            (vec![], 0),
            (vec![0], 3),
            (vec![], 5 * MIB),
            (vec![2 * MIB], 9 * MIB),
            (vec![0, 4 * MIB], 4 * MIB + 3),
        ] {
            let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            for &piece in &pieces {
                rustix::fs::seek(&from, SeekFrom::Start(piece)).unwrap();
                (&from).write_all(b"abc").unwrap();
            }
            from.set_len(size).unwrap();
            copy_data(&from, &to).unwrap();
            let (before, after) = (stat_fd(&from).unwrap(), stat_fd(&to).unwrap());
            assert_eq!(after.size(), size, "{pieces:?}");
            assert_eq!(
                after.allocated_bytes(),
                before.allocated_bytes(),
                "{pieces:?}"
            );
            for &piece in &pieces {
                let mut data = [0; 3];
                std::os::unix::fs::FileExt::read_exact_at(&to, &mut data, piece).unwrap();
                assert_eq!(&data, b"abc", "{pieces:?}");
            }
        }
    }

    #[test]
    fn a_copy_ends_when_nobody_wants_it() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(1).unwrap();
        (&from).write_all(b"abc").unwrap();
        let stopped = copy_data_while(&from, &to, &|| Err(Errno::INTR));
        let reason = stopped.map_err(|error| error.raw_os_error());
        assert!(
            matches!(reason, Ok(()) | Err(Some(libc::EINTR))),
            "{reason:?}"
        );
    }
}
