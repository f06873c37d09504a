//! Random system calls whose results can be compared to the error number.

use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::RenameFlags;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::Uid;
use rustix::io::Errno;
use rustix::io::Result;

use super::host_path;
use super::random::Random;

/// The attribute that steps set.
pub(crate) const ATTRIBUTE: &str = "user.lamina";

/// With what permissions files and special files are asked for.
pub(crate) const FILE_MODE: u32 = 0o644;
pub(crate) const NODE_MODE: u32 = 0o640;

/// The nanoseconds of the times that steps set.
pub(crate) const NANOSECONDS: i64 = 7;

/// Modes of directories. Nobody else may write to the sticky one: in those that are shared, sysctls
/// decide what root may open.
const DIR_MODES: [u32; 4] = [0o755, 0o700, 0o2775, 0o1755];

/// Targets of symlinks.
const TARGETS: [&str; 4] = ["a", "b/c", "nowhere", "."];

/// Values of the attribute.
const VALUES: [&str; 2] = ["x", "a longer value"];

/// One system call, or a few; paths are in a universe so small that they often meet.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    MakeDir(String, u32),
    Write(String, OFlags, &'static str),
    Truncate(String, u64),
    Symlink(String, &'static str),
    Node(String, FileType),
    Unlink(String),
    RemoveDir(String),
    RemoveTree(String),
    Rename(String, String, RenameFlags),
    Link(String, String),
    Chmod(String, u32),
    Chown(String, u32),
    Attribute(String, &'static str),
    NoAttribute(String),
    Time(String, i64),
    /// Opens, removes the name, writes, and reads all.
    WriteUnnamed(String, &'static str),
    /// Gives the content of a file or the names in a directory.
    Read(String),
}

/// What a script may make besides files, directories and symbolic links.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kinds {
    pub(crate) hard_links: bool,
    /// Which attributes sockets may have depends on the kernel.
    pub(crate) sockets: bool,
}

/// Returns `count` random steps.
pub(crate) fn script(random: &mut Random, count: usize, kinds: Kinds) -> Vec<Step> {
    (0..count).map(|_| step(random, kinds)).collect()
}

fn any_path(random: &mut Random) -> String {
    let depth = 1 + random.below(3);
    let names: Vec<&str> = (0..depth).map(|_| *random.pick(&["a", "b", "c"])).collect();
    names.join("/")
}

fn step(random: &mut Random, kinds: Kinds) -> Step {
    let path = any_path(random);
    match random.below(44) {
        0..9 => Step::MakeDir(path, *random.pick(&DIR_MODES)),
        9..15 => {
            let exclusive = *random.pick(&[OFlags::EXCL, OFlags::empty()]);
            let text = *random.pick(&["one", "another text", ""]);
            Step::Write(path, OFlags::CREATE | exclusive, text)
        }
        15 => Step::Write(path, OFlags::TRUNC, "short"),
        16 => Step::Write(path, OFlags::APPEND, " and more"),
        17 => Step::Truncate(path, *random.pick(&[0, 3, 5000])),
        18 => Step::Symlink(path, TARGETS[random.below(TARGETS.len())]),
        19 if kinds.sockets => Step::Node(path, FileType::Socket),
        19 | 20 => Step::Node(path, FileType::Fifo),
        21..23 => Step::Unlink(path),
        23 => Step::RemoveDir(path),
        24 | 25 => Step::RemoveTree(path),
        26..31 => Step::Rename(path, any_path(random), RenameFlags::empty()),
        31 => Step::Rename(path, any_path(random), RenameFlags::NOREPLACE),
        32 => Step::Rename(path, any_path(random), RenameFlags::EXCHANGE),
        33 | 34 if kinds.hard_links => Step::Link(path, any_path(random)),
        33..36 => Step::Chmod(path, *random.pick(&[0o600, 0o755, 0o4711, 0o711])),
        36 => Step::Chown(path, *random.pick(&[0, 1000])),
        37 => Step::Attribute(path, VALUES[random.below(VALUES.len())]),
        38 => Step::NoAttribute(path),
        39 => Step::Time(path, *random.pick(&[0, 1, 1_700_000_000, -5])),
        40 => Step::WriteUnnamed(path, "nameless"),
        _ => Step::Read(path),
    }
}

/// Carries `step` out below `root`; returns what it reads.
pub(crate) fn run(step: &Step, root: &OwnedFd) -> Result<Vec<u8>> {
    let flags = AtFlags::empty();
    match step {
        Step::MakeDir(path, mode) => {
            rustix::fs::mkdirat(root, path, Mode::from_raw_mode(0o755))?;
            rustix::fs::chmodat(root, path, Mode::from_raw_mode(*mode), flags)
        }
        Step::Write(path, flags, text) => write(root, path, *flags, text.as_bytes()),
        Step::Truncate(path, size) => rustix::fs::ftruncate(open(root, path, OFlags::RDWR)?, *size),
        Step::Symlink(path, target) => rustix::fs::symlinkat(*target, root, path),
        Step::Node(path, kind) => {
            rustix::fs::mknodat(root, path, *kind, Mode::from_raw_mode(NODE_MODE), 0)
        }
        Step::Unlink(path) => rustix::fs::unlinkat(root, path, flags),
        Step::RemoveDir(path) => rustix::fs::unlinkat(root, path, AtFlags::REMOVEDIR),
        Step::RemoveTree(path) => std::fs::remove_dir_all(host_path(root).join(path))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        Step::Rename(from, to, flags) => rustix::fs::renameat_with(root, from, root, to, *flags),
        Step::Link(from, to) => rustix::fs::linkat(root, from, root, to, flags),
        Step::Chmod(path, mode) => {
            rustix::fs::chmodat(root, path, Mode::from_raw_mode(*mode), flags)
        }
        Step::Chown(path, id) => {
            let (uid, gid) = (Some(Uid::from_raw(*id)), Some(Gid::from_raw(*id)));
            rustix::fs::chownat(root, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        }
        Step::Attribute(path, value) => {
            let (path, flags) = (host_path(root).join(path), rustix::fs::XattrFlags::empty());
            rustix::fs::setxattr(path, ATTRIBUTE, value.as_bytes(), flags)
        }
        Step::NoAttribute(path) => rustix::fs::removexattr(host_path(root).join(path), ATTRIBUTE),
        Step::Time(path, seconds) => set_time(root, path, *seconds),
        Step::WriteUnnamed(path, text) => return write_unnamed(root, path, text.as_bytes()),
        Step::Read(path) => return read(root, path),
    }
    .map(|()| Vec::new())
}

fn open(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd> {
    // A fifo would block.
    let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(root, path, flags, Mode::from_raw_mode(FILE_MODE))
}

fn write(root: &OwnedFd, path: &str, flags: OFlags, text: &[u8]) -> Result<()> {
    let fd = open(root, path, flags | OFlags::WRONLY)?;
    rustix::io::write(fd, text).map(drop)
}

fn write_unnamed(root: &OwnedFd, path: &str, text: &[u8]) -> Result<Vec<u8>> {
    let fd = open(root, path, OFlags::RDWR)?;
    rustix::fs::unlinkat(root, path, AtFlags::empty())?;
    rustix::io::pwrite(&fd, text, 0)?;
    content(&fd)
}

fn read(root: &OwnedFd, path: &str) -> Result<Vec<u8>> {
    let fd = open(root, path, OFlags::RDONLY)?;
    match rustix::fs::fstat(&fd)?.st_mode {
        mode if FileType::from_raw_mode(mode) == FileType::Directory => names(&fd),
        _ => content(&fd),
    }
}

fn content(fd: &OwnedFd) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let size = all.len();
        all.resize(size + 8192, 0);
        let got = rustix::io::read(fd.as_fd(), &mut all[size..])?;
        all.truncate(size + got);
        if got == 0 {
            return Ok(all);
        }
    }
}

/// Returns the names in a directory in order, with a slash between them.
fn names(fd: &OwnedFd) -> Result<Vec<u8>> {
    let entries = Dir::read_from(fd)?.map(|entry| Ok(entry?.file_name().to_bytes().to_vec()));
    let mut names = entries.collect::<Result<Vec<_>>>()?;
    names.retain(|name| name != b"." && name != b"..");
    names.sort();
    Ok(names.join(&b'/'))
}

fn set_time(root: &OwnedFd, path: &str, tv_sec: i64) -> Result<()> {
    let time = Timespec {
        tv_sec,
        tv_nsec: NANOSECONDS,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(root, path, &times, AtFlags::SYMLINK_NOFOLLOW)
}
