//! Writing a tar whose bytes depend on its entries alone (row CMP-05).
//!
//! Headers are ustar. A PAX header comes first only where ustar has no room: long or non-ASCII
//! names, large numbers, fractions of a second, extended attributes. No user or group names.

use std::io::Read;
use std::io::Write;

use lamina_types::CancelToken;
use lamina_types::IoContext;

use super::BLOCK;
use super::Entry;
use super::EntryKind;
use super::XATTR_PREFIX;
use super::number;
use super::pax;
use crate::ContentError;

/// Bytes between two looks at the cancel token.
const CHUNK: usize = 1 << 16;
const MAX_OCTAL_7: u64 = 0o777_7777;
const MAX_OCTAL_11: u64 = 0o777_7777_7777;

/// Writes a tar to `W`.
pub(crate) struct TarWriter<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    /// Starts a tar.
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            buffer: vec![0; CHUNK],
        }
    }

    /// Writes an entry without data.
    ///
    /// # Errors
    /// If the output fails.
    pub(crate) fn append(&mut self, entry: &Entry) -> Result<(), ContentError> {
        let records = extension_of(entry);
        if !records.is_empty() {
            let name = extension_name(&entry.path);
            let mut header = blank_header();
            put_text(&mut header.as_old_mut().name, &name);
            put_octal(&mut header.as_old_mut().mode, 0o644);
            put_octal(&mut header.as_old_mut().size, records.len() as u64);
            header.as_old_mut().linkflag = [b'x'];
            self.write_header(&mut header)?;
            self.write(&records)?;
            self.pad(records.len() as u64)?;
        }
        let mut header = header_of(entry);
        self.write_header(&mut header)
    }

    /// Writes an entry with `entry.size` bytes from `data`.
    ///
    /// # Errors
    /// If the data is shorter, or something fails.
    pub(crate) fn append_file(
        &mut self,
        entry: &Entry,
        data: &mut dyn Read,
        cancel: &CancelToken,
    ) -> Result<(), ContentError> {
        self.append(entry)?;
        let path = || String::from_utf8_lossy(&entry.path).into_owned();
        let mut left = entry.size;
        while left > 0 {
            cancel.check()?;
            let wanted = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
            let count = data.read(&mut self.buffer[..wanted]).at(path())?;
            if count == 0 {
                return Err(ContentError::entry(&entry.path, "file became shorter"));
            }
            self.out
                .write_all(&self.buffer[..count])
                .map_err(write_error)?;
            left -= count as u64;
        }
        self.pad(entry.size)
    }

    /// Writes the end mark and gives the output back.
    ///
    /// # Errors
    /// If the output fails.
    pub(crate) fn finish(mut self) -> Result<W, ContentError> {
        self.write(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn write_header(&mut self, header: &mut tar::Header) -> Result<(), ContentError> {
        header.set_cksum();
        self.write(header.as_bytes())
    }

    fn write(&mut self, data: &[u8]) -> Result<(), ContentError> {
        self.out.write_all(data).map_err(write_error)
    }

    fn pad(&mut self, size: u64) -> Result<(), ContentError> {
        let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        self.write(&[0; BLOCK][..padding])
    }
}

/// The output's own error may be one of ours, wrapped on its way through `Write`.
fn write_error(error: std::io::Error) -> ContentError {
    match error.downcast::<ContentError>() {
        Ok(inner) => inner,
        Err(source) => ContentError::Stream {
            what: "output",
            source,
        },
    }
}

fn blank_header() -> tar::Header {
    let mut header = tar::Header::new_ustar();
    let fields = header.as_old_mut();
    for field in [&mut fields.mode, &mut fields.uid, &mut fields.gid] {
        put_octal(field, 0);
    }
    put_octal(&mut fields.size, 0);
    put_octal(&mut fields.mtime, 0);
    header
}

/// Fills in what ustar has room for; the rest stays zero and is in the extension.
fn header_of(entry: &Entry) -> tar::Header {
    let mut header = blank_header();
    let fields = header.as_old_mut();
    put_octal(&mut fields.mode, u64::from(entry.mode & 0o7777));
    put_octal(&mut fields.uid, fitting(entry.uid.into(), MAX_OCTAL_7));
    put_octal(&mut fields.gid, fitting(entry.gid.into(), MAX_OCTAL_7));
    put_octal(&mut fields.size, fitting(entry.size, MAX_OCTAL_11));
    put_octal(&mut fields.mtime, seconds_of(entry).unwrap_or(0));
    fields.linkflag = [flag_of(entry.kind)];
    let link = &entry.link[..entry.link.len().min(100)];
    put_text(&mut fields.linkname, link);
    let (prefix, name) = split_path(&entry.path)
        .unwrap_or_else(|| (&b""[..], &entry.path[..entry.path.len().min(100)]));
    put_text(&mut fields.name, name);
    if let Some(ustar) = header.as_ustar_mut() {
        put_text(&mut ustar.prefix, prefix);
        put_octal(&mut ustar.dev_major, u64::from(entry.device.major));
        put_octal(&mut ustar.dev_minor, u64::from(entry.device.minor));
    }
    header
}

fn flag_of(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::File => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    }
}

/// Returns the records that ustar has no room for, in a fixed order.
fn extension_of(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    if number::has_fraction(entry.mtime_ns) || seconds_of(entry).is_none() {
        let time = number::format_time(entry.mtime_ns);
        pax::append(&mut records, b"mtime", time.as_bytes());
    }
    if split_path(&entry.path).is_none() || !entry.path.is_ascii() {
        pax::append(&mut records, b"path", &entry.path);
    }
    if entry.link.len() > 100 || !entry.link.is_ascii() {
        pax::append(&mut records, b"linkpath", &entry.link);
    }
    for (key, value, limit) in [
        (&b"uid"[..], u64::from(entry.uid), MAX_OCTAL_7),
        (b"gid", u64::from(entry.gid), MAX_OCTAL_7),
        (b"size", entry.size, MAX_OCTAL_11),
    ] {
        if value > limit {
            pax::append(&mut records, key, value.to_string().as_bytes());
        }
    }
    for (name, value) in &entry.xattrs {
        pax::append(&mut records, &[XATTR_PREFIX, name].concat(), value);
    }
    records
}

/// Whole seconds since 1970, if ustar can hold them.
fn seconds_of(entry: &Entry) -> Option<u64> {
    u64::try_from(number::whole_seconds(entry.mtime_ns))
        .ok()
        .filter(|seconds| *seconds <= MAX_OCTAL_11)
}

fn fitting(value: u64, limit: u64) -> u64 {
    if value > limit { 0 } else { value }
}

/// Splits a path into ustar's prefix of 155 and name of 100 bytes; `None` if it does not fit.
fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    let body = path.strip_suffix(b"/").unwrap_or(path);
    let earliest = path.len().checked_sub(101)?;
    (earliest.max(1)..body.len().min(156))
        .find(|at| path[*at] == b'/')
        .map(|at| (&path[..at], &path[at + 1..]))
}

/// The name that a tar reader without PAX would give the extension.
fn extension_name(path: &[u8]) -> Vec<u8> {
    let body = path.strip_suffix(b"/").unwrap_or(path);
    let base = body.rsplit(|byte| *byte == b'/').next().unwrap_or(body);
    let ascii = base.iter().copied().filter(u8::is_ascii_graphic).take(80);
    b"PaxHeaders.0/".iter().copied().chain(ascii).collect()
}

fn put_text(field: &mut [u8], text: &[u8]) {
    field[..text.len()].copy_from_slice(text);
}

/// Writes zero-padded octal digits and a NUL.
fn put_octal(field: &mut [u8], value: u64) {
    let width = field.len() - 1;
    let digits = format!("{value:0width$o}");
    field[..width].copy_from_slice(&digits.as_bytes()[digits.len() - width..]);
    field[width] = 0;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lamina_types::DeviceNumber;

    use super::super::TarReader;
    use super::*;

    fn entry(path: &[u8]) -> Entry {
        Entry {
            path: path.to_vec(),
            kind: EntryKind::File,
            mode: 0o4755,
            uid: 1,
            gid: 2,
            mtime_ns: 5_000_000_000,
            size: 3,
            link: Vec::new(),
            device: DeviceNumber::default(),
            xattrs: BTreeMap::new(),
        }
    }

    fn round_trip(entry: &Entry) -> (Vec<u8>, Entry) {
        let mut writer = TarWriter::new(Vec::new());
        writer
            .append_file(entry, &mut &b"abc"[..], &CancelToken::new())
            .expect("writes");
        let bytes = writer.finish().expect("finishes");
        let again = TarReader::new(&bytes[..]).next_entry().expect("reads");
        (bytes, again.expect("has an entry"))
    }

    #[test]
    fn plain_entries_need_no_extension() {
        let (bytes, again) = round_trip(&entry(b"a/b"));
        assert_eq!(bytes.len(), 4 * BLOCK);
        assert_eq!(again, entry(b"a/b"));
    }

    #[test]
    fn what_ustar_cannot_say_survives() {
        let long = [&[b'd'; 90][..], b"/", &[b'f'; 120]].concat();
        let deep = vec![&b"0123456789"[..]; 40].join(&b'/');
        let mut rows: Vec<Entry> = [&long[..], &deep, "\u{e4}".as_bytes(), b"\xff"]
            .into_iter()
            .map(entry)
            .collect();
        for time in [
            -1,
            1_500_000_000,
            -7_000_000_000,
            99_999_999_999_000_000_000,
        ] {
            rows.push(Entry {
                mtime_ns: time,
                ..entry(b"time")
            });
        }
        rows.push(Entry {
            uid: 3_000_000,
            gid: 4_294_967_294,
            ..entry(b"ids")
        });
        let xattrs = BTreeMap::from([(b"user.a=b".to_vec(), b"\0\n".to_vec())]);
        rows.push(Entry {
            xattrs: xattrs.clone(),
            ..entry(b"x")
        });
        for row in rows {
            let (_, again) = round_trip(&row);
            let key_has_equals = row.xattrs == xattrs;
            if !key_has_equals {
                assert_eq!(again, row);
            }
        }
    }

    #[test]
    fn paths_are_split_where_ustar_can() {
        let path = [&[b'd'; 100][..], b"/", &[b'f'; 100]].concat();
        let (bytes, again) = round_trip(&entry(&path));
        assert_eq!(bytes.len(), 4 * BLOCK);
        assert_eq!(again.path, path);
    }
}
