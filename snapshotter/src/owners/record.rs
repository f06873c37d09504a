//! The text of the attribute `user.lamina.stat`.
//!
//! ```text
//! record = mode " " uid " " gid [" " major " " minor]
//! ```
//!
//! `mode` is `st_mode` in octal, kind and all; the other numbers are decimal. Devices, and only those,
//! have the last two. A text that says anything else is damage, never a guess.

use lamina_types::DeviceNumber;
use lamina_types::FileKind;

/// The name of the attribute.
pub(super) const ATTRIBUTE: &[u8] = b"user.lamina.stat";

/// What a file truly is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) kind: FileKind,
    /// Permissions, set-id bits and the sticky bit.
    pub(crate) permissions: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Zero for what is no device.
    pub(crate) device: DeviceNumber,
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mode = self.kind.mode() | self.permissions;
        let mut text = format!("{mode:o} {} {}", self.uid, self.gid);
        if is_device(self.kind) {
            let DeviceNumber { major, minor } = self.device;
            text.push_str(&format!(" {major} {minor}"));
        }
        text.into_bytes()
    }

    /// Reads a text; `None` if it is damaged.
    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut fields = text.split(' ');
        let mode = number(fields.next()?, 8)?;
        let kind = FileKind::of_mode(mode)?;
        let (uid, gid) = (number(fields.next()?, 10)?, number(fields.next()?, 10)?);
        let device = match is_device(kind) {
            true => DeviceNumber {
                major: number(fields.next()?, 10)?,
                minor: number(fields.next()?, 10)?,
            },
            false => DeviceNumber::default(),
        };
        // A character device 0:0 would be a whiteout, which is never a stand-in.
        let whiteout = kind == FileKind::CharDevice && device == DeviceNumber::default();
        (fields.next().is_none() && !whiteout).then_some(Self {
            kind,
            permissions: mode & 0o7777,
            uid,
            gid,
            device,
        })
    }
}

/// Accepts digits only, where the standard library takes a sign as well.
fn number(text: &str, radix: u32) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    u32::from_str_radix(text, radix).ok().filter(|_| digits)
}

pub(super) fn is_device(kind: FileKind) -> bool {
    matches!(kind, FileKind::CharDevice | FileKind::BlockDevice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: FileKind, permissions: u32, owner: (u32, u32), device: (u32, u32)) -> Record {
        Record {
            kind,
            permissions,
            uid: owner.0,
            gid: owner.1,
            device: DeviceNumber {
                major: device.0,
                minor: device.1,
            },
        }
    }

    #[test]
    fn records_are_written_and_read_to_the_byte() {
        let top = u32::MAX - 1;
        for (text, record) in [
            (
                "100755 1000 1000",
                record(FileKind::File, 0o755, (1000, 1000), (0, 0)),
            ),
            (
                "41777 0 0",
                record(FileKind::Directory, 0o1777, (0, 0), (0, 0)),
            ),
            (
                "120777 5 6",
                record(FileKind::Symlink, 0o777, (5, 6), (0, 0)),
            ),
            (
                "20644 0 5 1 3",
                record(FileKind::CharDevice, 0o644, (0, 5), (1, 3)),
            ),
            (
                "60660 0 6 0 0",
                record(FileKind::BlockDevice, 0o660, (0, 6), (0, 0)),
            ),
            ("10600 0 0", record(FileKind::Fifo, 0o600, (0, 0), (0, 0))),
            (
                "147777 4294967294 0",
                record(FileKind::Socket, 0o7777, (top, 0), (0, 0)),
            ),
        ] {
            assert_eq!(record.encode(), text.as_bytes());
            assert_eq!(Record::decode(text.as_bytes()), Some(record), "{text}");
        }
    }

    #[test]
    fn damage_is_not_read() {
        for text in [
            "",
            "100755",
            "100755 0",
            "100755 0 0 ",
            "100755 0 0 1 3",
            "20644 0 0",
            "20644 0 0 1",
            "20644 0 0 0 0",
            "20644 0 0 1 3 4",
            "0 0 0",
            "755 0 0",
            "1100755 0 0",
            "100855 0 0",
            "100755 -1 0",
            "100755 +1 0",
            "100755 4294967296 0",
            "100755  0",
            "100755\t0 0",
            "100755 0 0\n",
            "\u{661}00755 0 0",
        ] {
            assert_eq!(Record::decode(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Record::decode(b"100755 0 \xff"), None);
    }
}
