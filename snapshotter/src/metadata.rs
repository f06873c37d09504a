//! Reading and changing the metadata of one file.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use lamina_types::FileKind;
use lamina_types::Stat;
use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::UTIME_OMIT;
use rustix::io::Errno;
use rustix::io::Result;

use crate::Owners;
use crate::fdio;
use crate::fdio::RawStat;
use crate::xattrs::Target;

/// What to change of a file; `None` leaves a field alone.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct MetadataChange {
    /// User and group.
    pub owner: Option<(u32, u32)>,
    /// Permission and set-id bits, 12 of them; not for symlinks, which have none.
    pub mode: Option<u32>,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: Option<i128>,
    /// The full set of the image's extended attributes; others are removed.
    pub xattrs: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MetadataChange {
    /// Returns the change that gives a file everything that `stat` says.
    #[must_use]
    pub fn all_of(stat: &Stat) -> Self {
        Self {
            owner: Some((stat.uid, stat.gid)),
            mode: (stat.kind != FileKind::Symlink).then_some(stat.mode),
            mtime_ns: Some(stat.mtime_ns),
            xattrs: Some(stat.xattrs.clone()),
        }
    }

    /// Says whether nothing is to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The metadata of a directory of which no layer says anything.
pub(crate) fn default_directory() -> Stat {
    Stat::new(FileKind::Directory, 0o755)
}

/// Completes `raw`, which describes `name` in `dir` as the image does.
pub(crate) fn stat_of_name(
    owners: Owners,
    dir: &impl AsFd,
    name: &[u8],
    raw: &RawStat,
) -> Result<Stat> {
    let link_target = match raw.kind() {
        FileKind::Symlink => owners.read_link(dir, name)?,
        _ => Vec::new(),
    };
    let xattrs = Target::name(dir, name).image_xattrs(owners)?;
    Ok(assemble(raw, link_target, xattrs))
}

/// Describes the directory or regular file that is open behind `fd`, with what only the disk says and
/// as the image does.
pub(crate) fn stat_of_opened(owners: Owners, fd: &impl AsFd) -> Result<(RawStat, Stat)> {
    let raw = owners.stat_fd(fd)?;
    let xattrs = Target::opened(fd).image_xattrs(owners)?;
    Ok((raw, assemble(&raw, Vec::new(), xattrs)))
}

fn assemble(raw: &RawStat, link_target: Vec<u8>, xattrs: BTreeMap<Vec<u8>, Vec<u8>>) -> Stat {
    let (uid, gid) = raw.owner();
    let kind = raw.kind();
    Stat {
        kind,
        mode: raw.permissions(),
        uid,
        gid,
        size: match kind {
            FileKind::File => raw.size(),
            FileKind::Symlink => link_target.len() as u64,
            _ => 0,
        },
        mtime_ns: raw.mtime_ns(),
        nlink: raw.nlink(),
        link_target,
        device: match kind {
            FileKind::CharDevice | FileKind::BlockDevice => raw.rdev(),
            _ => lamina_types::DeviceNumber::default(),
        },
        xattrs,
    }
}

/// Applies `change` to what is open behind `fd` (which may be `O_PATH`), in the order owner,
/// attributes, mode, times: a change of owner clears set-id bits and file capabilities, and all of
/// them would touch the times.
pub(crate) fn apply(
    owners: Owners,
    fd: &impl AsFd,
    kind: FileKind,
    change: &MetadataChange,
) -> Result<()> {
    owners.change(fd, kind, change)?;
    match change.mtime_ns {
        Some(mtime_ns) => set_mtime(fd, mtime_ns),
        None => Ok(()),
    }
}

/// Sets the twelve mode bits on disk.
pub(crate) fn set_mode(fd: &impl AsFd, mode: u32) -> Result<()> {
    let mode = Mode::from_raw_mode(mode & 0o7777);
    match rustix::fs::fchmod(fd, mode) {
        // For look-ups only: the object is reached by a path.
        Err(Errno::BADF) => rustix::fs::chmod(fdio::proc_path(fd), mode),
        set => set,
    }
}

/// Sets the modification time and leaves the access time alone.
pub(crate) fn set_mtime(fd: &impl AsFd, mtime_ns: i128) -> Result<()> {
    let mtime = timespec(mtime_ns);
    write_times(fd, omitted(), mtime)
}

/// Seconds and nanoseconds since 1970.
pub(crate) type Time = (i64, u32);

/// Sets the times that are given and leaves the others alone.
pub(crate) fn set_times(fd: &impl AsFd, atime: Option<Time>, mtime: Option<Time>) -> Result<()> {
    let time = |(tv_sec, nanoseconds): Time| Timespec {
        tv_sec,
        tv_nsec: nanoseconds.into(),
    };
    let or_omitted = |given: Option<Time>| given.map_or_else(omitted, time);
    write_times(fd, or_omitted(atime), or_omitted(mtime))
}

fn omitted() -> Timespec {
    Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    }
}

fn write_times(fd: &impl AsFd, last_access: Timespec, last_modification: Timespec) -> Result<()> {
    let times = Timestamps {
        last_access,
        last_modification,
    };
    match rustix::fs::futimens(fd, &times) {
        Err(Errno::BADF) => {
            let path = fdio::proc_path(fd);
            rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::empty())
        }
        set => set,
    }
}

/// Splits nanoseconds into what the kernel takes; what it cannot hold is clamped.
fn timespec(time_ns: i128) -> Timespec {
    const SECOND: i128 = 1_000_000_000;
    let seconds = time_ns.div_euclid(SECOND);
    let limited = seconds.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Timespec {
        tv_sec: i64::try_from(limited).unwrap_or(0),
        tv_nsec: i64::try_from(time_ns.rem_euclid(SECOND)).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_keep_positive_nanoseconds() {
        for (time_ns, seconds, nanoseconds) in [
            (0, 0, 0),
            (1_500_000_000, 1, 500_000_000),
            (-1, -1, 999_999_999),
            (-2_500_000_000, -3, 500_000_000),
        ] {
            let time = timespec(time_ns);
            assert_eq!((time.tv_sec, time.tv_nsec), (seconds, nanoseconds));
        }
    }
}
