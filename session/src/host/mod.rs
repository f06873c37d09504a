//! Looking at a directory of this host: one name at a time, by directory descriptor, never
//! following.
//!
//! [`list`] says what a transfer is about; the rest opens and reads what it found. Two use it: the
//! local source, when client and engine are one process, and the client that sends a directory
//! over a session. The directory is live: what was listed may be gone or be something else when it
//! is opened, so every look goes by name from an open directory and refuses symlinks.
//!
//! [`Destination`] is the other direction: a directory that is filled with a result.
//!
//! ```
//! use lamina_session::LocalRequest;
//! use lamina_session::host;
//! use lamina_types::CancelToken;
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # std::fs::create_dir_all(dir.path().join("src")).unwrap();
//! # for name in ["src/main.rs", "src/main.o", "notes"] {
//! #     std::fs::write(dir.path().join(name), "text").unwrap();
//! # }
//! let request = LocalRequest {
//!     includes: vec!["src".to_owned()],
//!     excludes: vec!["**/*.o".to_owned()],
//!     ..LocalRequest::default()
//! };
//! let root = host::open_root(dir.path()).unwrap();
//! let found = host::list(&root, &request, &CancelToken::new()).unwrap();
//! let paths: Vec<String> = found.iter().map(|entry| entry.shown()).collect();
//! assert_eq!(paths, ["src", "src/main.rs"]);
//! ```

mod destination;
mod filter;
mod follow;
mod node;
mod walk;
mod xattrs;

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

use lamina_types::CancelToken;
use lamina_types::FileKind;

use crate::LocalRequest;
use crate::SessionError;

use filter::Filter;

pub use destination::Destination;
pub use destination::set_metadata;
pub use destination::split;
pub use destination::timestamps;
pub use node::Node;
pub use node::make_node;
pub use walk::HostEntry;
pub use xattrs::xattrs;

/// Lists what `request` wants of the directory, in path order: a directory before its content.
///
/// # Errors
/// If a pattern is malformed or something wanted cannot be read.
pub fn list(
    root: &OwnedFd,
    request: &LocalRequest,
    cancel: &CancelToken,
) -> Result<Vec<HostEntry>, SessionError> {
    let followed = if request.follow.is_empty() {
        None
    } else {
        follow::follow(root, &request.follow)?
    };
    let filter = Filter::new(request, followed)?;
    walk::walk(root, &filter, cancel)
}

/// What is remembered of a file in order to see whether it has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    /// What it is.
    pub kind: FileKind,
    /// Twelve bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes, as the file system counts them for its kind.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Changes with every change of content or metadata, and cannot be set by programs.
    pub ctime_ns: i128,
    /// The file system that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// How many names it has.
    pub links: u32,
    /// Major and minor number of a device.
    pub node: (u32, u32),
}

const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Opens the directory itself; the user may have named it through symlinks.
///
/// # Errors
/// If it is missing or no directory.
pub fn open_root(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, DIR_FLAGS, Mode::empty())
}

/// Opens a child directory.
///
/// # Errors
/// If it is missing, a symlink or no directory.
pub fn open_dir(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(parent, name, DIR_FLAGS | OFlags::NOFOLLOW, Mode::empty())
}

/// Opens a directory below `root` by a path without symlinks; empty = `root` itself. The path must
/// not hold `..`.
///
/// # Errors
/// If a part of it is missing, a symlink or no directory.
pub fn open_below(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut dir = open_dir(root, b".")?;
    for name in path.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
        dir = open_dir(&dir, name)?;
    }
    Ok(dir)
}

/// Opens a regular file's data; a fifo in its place does not block.
///
/// # Errors
/// If it is missing, a symlink or unreadable.
pub fn open_file(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Returns the names in a directory, sorted by their bytes.
///
/// # Errors
/// If it cannot be read.
pub fn names(dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
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

/// Returns what a symlink says.
///
/// # Errors
/// If it is missing or no symlink.
pub fn symlink_target(parent: impl AsFd, name: &[u8]) -> Result<Vec<u8>, Errno> {
    Ok(rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes())
}

/// Looks at a name without following it.
///
/// # Errors
/// If it is missing, or of a kind that this system should not have.
pub fn look(parent: impl AsFd, name: &[u8]) -> Result<Fingerprint, Errno> {
    fingerprint(parent, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Looks at what is open.
///
/// # Errors
/// If it is of a kind that this system should not have.
pub fn look_opened(file: impl AsFd) -> Result<Fingerprint, Errno> {
    fingerprint(file, b"", AtFlags::EMPTY_PATH)
}

fn fingerprint(dir: impl AsFd, name: &[u8], flags: AtFlags) -> Result<Fingerprint, Errno> {
    let found = rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS)?;
    let time = |time: rustix::fs::StatxTimestamp| {
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    };
    Ok(Fingerprint {
        kind: FileKind::of_mode(found.stx_mode.into()).ok_or(Errno::INVAL)?,
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

/// Says that something was there a moment ago: files of a live directory come and go.
#[must_use]
pub fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR)
}
