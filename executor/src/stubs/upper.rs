//! The upper directory of an active layer as it is on disk, walked one component at a time.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use lamina_snapshotter::ActiveLayer;
use lamina_types::RootedPath;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::UTIME_OMIT;
use rustix::io::Errno;

use crate::ExecError;
use crate::error::Doing;

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::RDONLY)
    .union(OFlags::CLOEXEC);

/// Returns how many components of `path` are directories of the upper.
pub(super) fn depth(layer: &ActiveLayer, path: &RootedPath) -> Result<usize, ExecError> {
    let mut dir = open(layer.upper_dir(), b".").doing("open the upper directory")?;
    let mut depth = 0;
    for name in path.components() {
        dir = match open(&dir, name) {
            Ok(next) => next,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => break,
            Err(error) => return Err(error).doing("open the upper directory"),
        };
        depth += 1;
    }
    Ok(depth)
}

/// Opens the root of the upper and the directories `names` below it.
pub(super) fn open_chain(layer: &ActiveLayer, names: &[&[u8]]) -> Result<Vec<OwnedFd>, ExecError> {
    let root = open(layer.upper_dir(), b".").doing("open the upper directory")?;
    let mut chain = vec![root];
    for name in names {
        let next = chain.last().map(|dir| open(dir, name));
        chain.extend(next.transpose().doing("open the upper directory")?);
    }
    Ok(chain)
}

/// Sets a directory's modification time.
pub(super) fn set_mtime(dir: &OwnedFd, mtime_ns: i128) -> Result<(), ExecError> {
    let second = 1_000_000_000;
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: i64::try_from(mtime_ns.div_euclid(second)).unwrap_or_default(),
            tv_nsec: i64::try_from(mtime_ns.rem_euclid(second)).unwrap_or_default(),
        },
    };
    rustix::fs::futimens(dir, &times).doing("set the time of a directory")
}

/// Returns a directory's modification time.
pub(super) fn mtime(dir: &OwnedFd) -> Result<i128, ExecError> {
    let stat = rustix::fs::fstat(dir).doing("read the time of a directory")?;
    Ok(i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec))
}

/// Opens a directory, never following a link.
pub(super) fn open(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(dir, name, DIRECTORY, Mode::empty())
}
