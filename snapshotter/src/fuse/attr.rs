//! Attributes: what the kernel is told of a node, and changes of it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use fuser::FileAttr;
use fuser::FileType;
use fuser::INodeNo;
use fuser::TimeOrNow;
use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::LayerId;
use rustix::io::Errno;
use rustix::io::Result;

use super::caller::Caller;
use super::copy_up::Data;
use super::node::Node;
use super::node::Place;
use super::overlay::Overlay;
use crate::MetadataChange;
use crate::Owners;
use crate::fdio::RawStat;
use crate::metadata;
use crate::metadata::Time;

/// The unit that programs are advised to read in.
const BLOCK_BYTES: u32 = 4096;

/// Set-user-id and set-group-id.
pub(super) const SET_IDS: u32 = 0o6000;

/// What is to change of a node; `None` leaves it alone.
#[derive(Default)]
pub(super) struct AttrChange {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) atime: Option<Time>,
    pub(super) mtime: Option<Time>,
}

impl Overlay {
    /// Tells the kernel about `node`, which `raw` describes.
    pub(super) fn attributes(&self, node: &Node, raw: &RawStat) -> FileAttr {
        let (uid, gid) = self.shown_ids.of(raw.owner());
        FileAttr {
            ino: INodeNo(node.ino),
            size: raw.size(),
            blocks: raw.allocated_bytes() / 512,
            atime: system_time(raw.atime()),
            mtime: system_time(raw.mtime()),
            ctime: system_time(raw.ctime()),
            crtime: UNIX_EPOCH,
            kind: file_type(raw.kind()),
            perm: u16::try_from(raw.permissions()).unwrap_or(0),
            nlink: self.nlink(node, raw),
            uid,
            gid,
            // The protocol has room for 32 bits, in the kernel's old format.
            rdev: encode_device(raw.rdev()),
            blksize: BLOCK_BYTES,
            flags: 0,
        }
    }

    /// Returns the number of names: of merged directories 1, which programs take for "unknown".
    fn nlink(&self, node: &Node, raw: &RawStat) -> u32 {
        let on_host = u32::try_from(raw.nlink()).unwrap_or(u32::MAX);
        match node.place() {
            Place::Directory(parts) if parts.len() > 1 => 1,
            Place::Closed(layers) if layers.len() > 1 => 1,
            Place::File(Some(layer)) if on_host > 1 => self.names_in(layer, raw),
            _ => on_host,
        }
    }

    fn names_in(&self, layer: LayerId, raw: &RawStat) -> u32 {
        self.link_counts.of(layer, raw.inode()).unwrap_or(1)
    }

    /// Changes attributes, of the copy if there is only an original.
    pub(super) fn set_attributes(
        &self,
        node: &Arc<Node>,
        change: &AttrChange,
        caller: Caller,
    ) -> Result<RawStat> {
        let data = match change.size {
            Some(0) => Data::Dropped,
            _ => Data::Kept,
        };
        self.copy_up(node, data, caller)?;
        if let Some(size) = change.size {
            if node.is_outdated() {
                return Err(self.set_apart(node)?);
            }
            self.truncate(node, size, caller)?;
        }
        let fd = self.path_fd(node)?;
        // No time is set in the middle of a change of the data.
        let _busy = node.lock_busy();
        change.apply(self.format.owners, &fd, node.kind)?;
        if change.mtime.is_some() {
            node.note_time_told(true);
        }
        self.stat_fd(&fd)
    }

    /// Takes the rights of its owner away from a file whose data an ordinary user changed.
    pub(super) fn drop_set_ids(&self, fd: &OwnedFd) -> Result<()> {
        let mode = self.stat_fd(fd)?.permissions();
        let kept = match mode & 0o2010 {
            // Without the group's right to execute, the bit means something else.
            0o2000 => mode & !0o4000,
            _ => mode & !SET_IDS,
        };
        let change = MetadataChange {
            mode: (kept != mode).then_some(kept),
            ..MetadataChange::default()
        };
        self.format.owners.change(fd, FileKind::File, &change)
    }

    fn truncate(&self, node: &Arc<Node>, size: u64, caller: Caller) -> Result<()> {
        let fd = self.data_fd(node, true)?;
        self.change_data(node, &fd, || rustix::fs::ftruncate(&fd, size))?;
        match caller.uid {
            0 => Ok(()),
            _ => self.drop_set_ids(&fd),
        }
    }
}

impl AttrChange {
    fn apply(&self, owners: Owners, fd: &OwnedFd, kind: FileKind) -> Result<()> {
        let owner = match (self.uid, self.gid) {
            (None, None) => None,
            (uid, gid) => Some((uid.unwrap_or(u32::MAX), gid.unwrap_or(u32::MAX))),
        };
        let change = MetadataChange {
            owner,
            mode: self.mode,
            ..MetadataChange::default()
        };
        owners.change(fd, kind, &change)?;
        match (self.atime, self.mtime) {
            (None, None) => Ok(()),
            (atime, mtime) => metadata::set_times(fd, atime, mtime),
        }
    }
}

/// Reads a time of a request.
pub(super) fn requested_time(time: TimeOrNow) -> Time {
    let time = match time {
        TimeOrNow::Now => SystemTime::now(),
        TimeOrNow::SpecificTime(time) => return library_time(time),
    };
    library_time(time)
}

/// Undoes how the library turns seconds and nanoseconds into a time: before 1970 it takes both away,
/// while the nanoseconds are meant to be added.
fn library_time(time: SystemTime) -> Time {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (
            i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            after.subsec_nanos(),
        ),
        Err(before) => {
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            (-seconds, before.subsec_nanos())
        }
    }
}

fn system_time((seconds, nanoseconds): Time) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds < 0 {
        true => UNIX_EPOCH.checked_sub(whole),
        false => UNIX_EPOCH.checked_add(whole),
    };
    let part = Duration::from_nanos(nanoseconds.into());
    time.and_then(|time| time.checked_add(part))
        .unwrap_or(UNIX_EPOCH)
}

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Socket => FileType::Socket,
    }
}

/// Packs a device number as the kernel does: 12 bits of the major number between 8 and 12 bits of the
/// minor.
fn encode_device(device: DeviceNumber) -> u32 {
    let DeviceNumber { major, minor } = device;
    minor & 0xff | (major & 0xfff) << 8 | (minor & !0xff) << 12
}

/// Unpacks what [`encode_device`] packs.
pub(super) fn decode_device(packed: u32) -> DeviceNumber {
    DeviceNumber {
        major: packed >> 8 & 0xfff,
        minor: packed & 0xff | packed >> 12 & 0xf_ff00,
    }
}

/// Describes no file: the answer for a name that does not exist, which the kernel remembers.
pub(super) fn no_file() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// Returns the kind of node that `mode` asks for, without one a file; directories and symlinks are not
/// made by mode.
pub(super) fn node_kind(mode: u32) -> Result<FileKind> {
    match FileKind::of_mode(mode) {
        Some(FileKind::Directory | FileKind::Symlink) => Err(Errno::INVAL),
        kind => Ok(kind.unwrap_or(FileKind::File)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_both_ways() {
        for time in [
            (0, 0),
            (1, 5),
            (-1, 999_999_999),
            (-2, 800_000_000),
            (1 << 40, 1),
        ] {
            let (seconds, nanoseconds) = time;
            let shown = system_time(time);
            let since = match shown.duration_since(UNIX_EPOCH) {
                Ok(after) => i128::try_from(after.as_nanos()).unwrap(),
                Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap(),
            };
            assert_eq!(
                since,
                i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
            );
        }
        let given = UNIX_EPOCH - Duration::new(2, 800_000_000);
        assert_eq!(
            requested_time(TimeOrNow::SpecificTime(given)),
            (-2, 800_000_000)
        );
    }

    #[test]
    fn device_numbers_are_packed_as_the_kernel_does() {
        for (major, minor, packed) in [
            (0, 0, 0),
            (1, 3, 0x103),
            (8, 0x123, 0x0010_0823),
            (0xfff, 0xf_ffff, 0xffff_ffff),
        ] {
            let device = DeviceNumber { major, minor };
            assert_eq!(encode_device(device), packed);
            assert_eq!(decode_device(packed), device);
        }
    }
}
