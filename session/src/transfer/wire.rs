//! Files as messages describe them (row GW-28).
//!
//! The mode is Go's: twelve bits that POSIX has as well are permissions and the set-id bits, but
//! the latter and the kind of the file are elsewhere.

use lamina_proto::fsutil;
use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::Stat;

use super::FileEntry;
use crate::SessionError;

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SET_UID: u32 = 1 << 23;
const SET_GID: u32 = 1 << 22;
const CHARACTER: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;
/// All that tells kinds apart, with the bit for what is none of them.
const KIND: u32 = DIRECTORY | SYMLINK | DEVICE | FIFO | SOCKET | CHARACTER | 1 << 19;

/// Where Go has the three bits above the permissions.
const SPECIAL_BITS: [(u32, u32); 3] = [(0o4000, SET_UID), (0o2000, SET_GID), (0o1000, STICKY)];

/// Describes a file under the name `path`.
///
/// Names that are not UTF-8 cannot be sent; their bytes are replaced.
#[must_use]
pub fn stat_to_wire(path: &[u8], stat: &Stat) -> fsutil::Stat {
    let xattrs = stat.xattrs.iter();
    fsutil::Stat {
        path: text(path),
        mode: go_mode(stat),
        uid: stat.uid,
        gid: stat.gid,
        size: if stat.is_dir() {
            0
        } else {
            clamp(stat.size.into())
        },
        mod_time: clamp(stat.mtime_ns),
        linkname: text(&stat.link_target),
        devmajor: stat.device.major.into(),
        devminor: stat.device.minor.into(),
        xattrs: xattrs
            .map(|(key, value)| (text(key), value.clone()))
            .collect(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

fn go_mode(stat: &Stat) -> u32 {
    let kind = match stat.kind {
        FileKind::File => 0,
        FileKind::Directory => DIRECTORY,
        FileKind::Symlink => SYMLINK,
        FileKind::Fifo => FIFO,
        FileKind::CharDevice => DEVICE | CHARACTER,
        FileKind::BlockDevice => DEVICE,
        FileKind::Socket => SOCKET,
    };
    let special = SPECIAL_BITS.iter();
    let special = special.filter(|(posix, _)| stat.mode & posix != 0);
    kind | stat.mode & 0o777 | special.fold(0, |bits, (_, go)| bits | go)
}

/// Reads the description of a file. Of a hard link it is that of the file that it names.
///
/// # Errors
/// [`SessionError::Protocol`] if a number is out of its range or the kind of the file unknown.
pub fn stat_from_wire(stat: &fsutil::Stat) -> Result<Stat, SessionError> {
    let kind = kind(stat)?;
    let link_target = match kind {
        FileKind::Symlink => stat.linkname.clone().into_bytes(),
        _ => Vec::new(),
    };
    let special = SPECIAL_BITS.iter();
    let special = special.filter(|(_, go)| stat.mode & go != 0);
    let xattrs = stat.xattrs.iter();
    Ok(Stat {
        kind,
        mode: stat.mode & 0o777 | special.fold(0, |bits, (posix, _)| bits | posix),
        uid: stat.uid,
        gid: stat.gid,
        size: size(kind, stat)?,
        mtime_ns: stat.mod_time.into(),
        nlink: 1,
        link_target,
        device: device(kind, stat)?,
        xattrs: xattrs
            .map(|(key, value)| (key.clone().into_bytes(), value.clone()))
            .collect(),
    })
}

fn kind(stat: &fsutil::Stat) -> Result<FileKind, SessionError> {
    Ok(match stat.mode & KIND {
        0 => FileKind::File,
        DIRECTORY => FileKind::Directory,
        SYMLINK => FileKind::Symlink,
        FIFO => FileKind::Fifo,
        SOCKET => FileKind::Socket,
        DEVICE => FileKind::BlockDevice,
        bits if bits == DEVICE | CHARACTER => FileKind::CharDevice,
        _ => return Err(invalid(stat, "mode", stat.mode.into())),
    })
}

fn size(kind: FileKind, stat: &fsutil::Stat) -> Result<u64, SessionError> {
    match kind {
        FileKind::File => u64::try_from(stat.size).map_err(|_| invalid(stat, "size", stat.size)),
        FileKind::Symlink => Ok(stat.linkname.len() as u64),
        _ => Ok(0),
    }
}

fn device(kind: FileKind, stat: &fsutil::Stat) -> Result<DeviceNumber, SessionError> {
    if !matches!(kind, FileKind::CharDevice | FileKind::BlockDevice) {
        return Ok(DeviceNumber::default());
    }
    let number = |value: i64| u32::try_from(value).map_err(|_| invalid(stat, "device", value));
    Ok(DeviceNumber {
        major: number(stat.devmajor)?,
        minor: number(stat.devminor)?,
    })
}

fn invalid(stat: &fsutil::Stat, field: &str, value: i64) -> SessionError {
    SessionError::Protocol(format!("{:?} has the {field} {value}", stat.path))
}

/// Describes an entry of a transfer.
pub(super) fn entry_to_wire(entry: &FileEntry) -> Result<fsutil::Stat, SessionError> {
    for name in [&entry.path, &entry.stat.link_target] {
        if let Err(error) = std::str::from_utf8(name) {
            let shown = String::from_utf8_lossy(name);
            return Err(SessionError::Protocol(format!(
                "the name {shown:?} cannot be sent: {error}"
            )));
        }
    }
    let mut stat = stat_to_wire(&entry.path, &entry.stat);
    if let Some(target) = &entry.hard_link {
        stat.linkname = text(target);
        stat.size = 0;
    }
    Ok(stat)
}

/// Reads an entry of a transfer.
pub(super) fn entry_from_wire(wire: fsutil::Stat) -> Result<FileEntry, SessionError> {
    let stat = stat_from_wire(&wire)?;
    let linked = !matches!(stat.kind, FileKind::Symlink | FileKind::Directory);
    let hard_link = linked && !wire.linkname.is_empty();
    Ok(FileEntry {
        hard_link: hard_link.then(|| wire.linkname.into_bytes()),
        path: wire.path.into_bytes(),
        stat,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn stat(kind: FileKind, mode: u32) -> Stat {
        Stat {
            kind,
            mode,
            uid: 1,
            gid: 2,
            size: if kind == FileKind::File { 9 } else { 0 },
            mtime_ns: -5,
            nlink: 1,
            link_target: Vec::new(),
            device: DeviceNumber::default(),
            xattrs: BTreeMap::from([(b"user.x".to_vec(), vec![0, 255])]),
        }
    }

    #[test]
    fn modes_are_those_of_go() {
        for (kind, mode, wanted) in [
            (FileKind::File, 0o644, 0o644),
            (FileKind::File, 0o4755, 0x0080_0000 | 0o755),
            (FileKind::File, 0o2755, 0x0040_0000 | 0o755),
            (FileKind::Directory, 0o1777, 0x8010_0000 | 0o777),
            (FileKind::Symlink, 0o777, 0x0800_0000 | 0o777),
            (FileKind::Fifo, 0o600, 0x0200_0000 | 0o600),
            (FileKind::Socket, 0o600, 0x0100_0000 | 0o600),
            (FileKind::CharDevice, 0o600, 0x0420_0000 | 0o600),
            (FileKind::BlockDevice, 0o600, 0x0400_0000 | 0o600),
        ] {
            let stat = stat(kind, mode);
            let wire = stat_to_wire(b"name", &stat);
            assert_eq!(wire.mode, wanted, "{kind:?} {mode:o}");
            assert_eq!(stat_from_wire(&wire).expect("valid"), stat);
        }
    }

    #[test]
    fn links_and_devices_survive() {
        let mut link = stat(FileKind::Symlink, 0o777);
        link.link_target = b"over/there".to_vec();
        link.size = 10;
        let mut device = stat(FileKind::CharDevice, 0o666);
        device.device = DeviceNumber { major: 1, minor: 3 };
        for stat in [link, device] {
            assert_eq!(
                stat_from_wire(&stat_to_wire(b"n", &stat)).expect("valid"),
                stat
            );
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let valid = stat_to_wire(b"n", &stat(FileKind::File, 0o644));
        for (wire, wanted) in [
            (
                fsutil::Stat {
                    size: -1,
                    ..valid.clone()
                },
                "size -1",
            ),
            (
                fsutil::Stat {
                    mode: 1 << 19,
                    ..valid.clone()
                },
                "mode 524288",
            ),
            (
                fsutil::Stat {
                    mode: DIRECTORY | SYMLINK,
                    ..valid.clone()
                },
                "mode",
            ),
            (
                fsutil::Stat {
                    mode: DEVICE,
                    devmajor: -1,
                    ..valid.clone()
                },
                "device -1",
            ),
            (
                fsutil::Stat {
                    mode: DEVICE,
                    devminor: 1 << 40,
                    ..valid
                },
                "device",
            ),
        ] {
            let error = stat_from_wire(&wire).expect_err(wanted).to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
