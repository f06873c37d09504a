//! One file of a local export.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use lamina_session::host;
use lamina_session::host::Destination;
use lamina_session::host::Node;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::Stat;
use rustix::fs::AtFlags;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Uid;
use rustix::io::Errno;

use super::plan::PlannedFile;
use crate::ExportError;

/// Whose the written files are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owners {
    /// Those that they have in the tree.
    Keep,
    /// The user that exports, who can then change and remove them (row ELO-07).
    Caller,
}

impl Owners {
    /// Keeps owners if this process may: only root may give files away.
    pub(super) fn kept_by_root() -> Self {
        if rustix::process::geteuid().is_root() {
            Self::Keep
        } else {
            Self::Caller
        }
    }
}

/// What became of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Written,
    /// A device node, which only root may make.
    NoPermission,
}

/// Writes a file; what is at its path goes first. Data is shared with the layer by reflink where
/// the file system can, never by a link: the user may write to it.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write_file(
    file: &PlannedFile,
    parent: &OwnedFd,
    destination: &Destination,
    owners: Owners,
) -> Result<Outcome, ExportError> {
    let path = &file.path;
    let (_, name) = host::split(path);
    let stat = file.entry.stat();
    destination.clear(parent, std::ffi::OsStr::new(as_os(name)), path)?;
    match stat.kind {
        FileKind::File => write_regular(file, parent, name, owners).at(destination.show(path))?,
        FileKind::Symlink => {
            let made = rustix::fs::symlinkat(&stat.link_target[..], parent, name);
            made.at(destination.show(path))?;
            set_by_name(file, parent, name, owners).at(destination.show(path))?;
        }
        FileKind::Socket | FileKind::Directory => {}
        FileKind::Fifo | FileKind::CharDevice | FileKind::BlockDevice => {
            let made = host::make_node(stat, parent, name).at(destination.show(path))?;
            if made == Node::NoPermission {
                return Ok(Outcome::NoPermission);
            }
            set_by_name(file, parent, name, owners).at(destination.show(path))?;
        }
    }
    Ok(Outcome::Written)
}

fn as_os(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

fn write_regular(
    file: &PlannedFile,
    parent: &OwnedFd,
    name: &[u8],
    owners: Owners,
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?;
    let mut target = File::from(target);
    let mut source = file.entry.open().map_err(io::Error::other)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
        // copy_file_range where the kernel can, else read and write.
        io::copy(&mut source, &mut target)?;
    }
    set_metadata(&target, file.entry.stat(), file.mtime_ns, owners)
}

/// Sets what a handle can have, in the order owner, attributes, mode, times.
///
/// # Errors
/// If the system refuses; attributes that it refuses are left out.
pub(super) fn set_metadata(
    target: &impl AsFd,
    stat: &Stat,
    mtime_ns: i128,
    owners: Owners,
) -> io::Result<()> {
    if owners == Owners::Keep {
        let (uid, gid) = ids(stat);
        if_mapped(rustix::fs::fchown(target, Some(uid), Some(gid)))?;
    }
    host::set_metadata(target, stat, mtime_ns)
}

fn set_by_name(
    file: &PlannedFile,
    parent: &OwnedFd,
    name: &[u8],
    owners: Owners,
) -> rustix::io::Result<()> {
    let stat = file.entry.stat();
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    if owners == Owners::Keep {
        let (uid, gid) = ids(stat);
        if_mapped(rustix::fs::chownat(
            parent,
            name,
            Some(uid),
            Some(gid),
            flags,
        ))?;
    }
    if stat.kind != FileKind::Symlink {
        let mode = Mode::from_raw_mode(stat.mode);
        rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
    }
    rustix::fs::utimensat(parent, name, &host::timestamps(file.mtime_ns), flags)
}

/// Leaves a file with its maker if the user namespace has no id for its owner: root of the namespace, as
/// a step sees that owner too.
fn if_mapped(chowned: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match chowned {
        Err(Errno::INVAL) => Ok(()),
        chowned => chowned,
    }
}

fn ids(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.uid), Gid::from_raw(stat.gid))
}
