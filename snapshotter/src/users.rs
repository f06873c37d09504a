//! Looks users up in `/etc/passwd` and `/etc/group` of a tree.
//!
//! Confined to the tree, regular files only, 10 MiB at most (row FIL-05). What becomes of lines with odd
//! numbers is for [`Numbers`] to say. The files are read line by line, so what is looked for costs the
//! memory of one line.

use std::fs::File;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Take;
use std::num::IntErrorKind;

use lamina_types::IoContext;
use lamina_types::RootedPath;

use crate::SnapshotError;
use crate::tree::Follow;
use crate::tree::Tree;

/// The most that is read of either file (row FIL-05).
const MAX_BYTES: u64 = 10 << 20;

/// The longest line: a group of some ten thousand members.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// What is made of fields that should be numbers of users and groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// A line in which one is missing or none is skipped, as the C library does: for processes, which
    /// must not become somebody else.
    Strict,
    /// One that is missing or none is 0, and any other counts by its lowest 32 bits, as for the owners
    /// of files under BuildKit; all of those set mean that the owner stays.
    Loose,
}

/// One line of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of passwd(5)")]
pub struct PasswdEntry {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
}

/// One line of `/etc/group`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of group(5)")]
pub struct GroupEntry {
    pub name: String,
    pub gid: u32,
    pub members: Vec<String>,
}

/// Reads `/etc/passwd`; empty if there is none.
///
/// # Errors
/// If it is not a regular file, is too large, or cannot be opened. An entry is an error if reading
/// fails, or a line is longer than anybody needs; it is the last one then.
pub fn passwd(tree: &Tree, numbers: Numbers) -> Result<Entries<PasswdEntry>, SnapshotError> {
    Entries::open(tree, "/etc/passwd", numbers, parse_passwd)
}

/// Reads `/etc/group`; empty if there is none.
///
/// # Errors
/// As [`passwd`].
pub fn groups(tree: &Tree, numbers: Numbers) -> Result<Entries<GroupEntry>, SnapshotError> {
    Entries::open(tree, "/etc/group", numbers, parse_group)
}

/// Returns the first of `entries` that `is_it`.
///
/// # Errors
/// That of the first entry that is one.
pub fn first<T, E>(
    mut entries: impl Iterator<Item = Result<T, E>>,
    is_it: impl Fn(&T) -> bool,
) -> Result<Option<T>, E> {
    let found = entries.find(|entry| entry.as_ref().map_or(true, &is_it));
    found.transpose()
}

/// The entries of a file, read as they are asked for.
#[derive(Debug)]
pub struct Entries<T> {
    path: RootedPath,
    /// `None` at the end.
    file: Option<BufReader<Take<File>>>,
    numbers: Numbers,
    parse: fn(&str, Numbers) -> Option<T>,
    line: Vec<u8>,
}

impl<T> Entries<T> {
    fn open(
        tree: &Tree,
        path: &str,
        numbers: Numbers,
        parse: fn(&str, Numbers) -> Option<T>,
    ) -> Result<Self, SnapshotError> {
        let path = RootedPath::new(path);
        let file = match tree.lookup(&path, Follow::Last) {
            Err(error) if error.is_not_found() => None,
            found => Some(found?),
        };
        let limit = MAX_BYTES;
        if file.as_ref().is_some_and(|entry| entry.stat().size > limit) {
            return Err(SnapshotError::TooLarge { path, limit });
        }
        let file = file.map(|entry| entry.open()).transpose()?;
        Ok(Self {
            path,
            file: file.map(|file| BufReader::new(file.take(limit))),
            numbers,
            parse,
            line: Vec::new(),
        })
    }

    /// Returns the next line; `None` at the end.
    fn next_line(&mut self) -> Option<Result<&[u8], SnapshotError>> {
        let file = self.file.as_mut()?;
        self.line.clear();
        let read = file
            .take(MAX_LINE_BYTES + 1)
            .read_until(b'\n', &mut self.line);
        let whole = read.at(&self.path).map_err(SnapshotError::from);
        let whole = whole.and_then(|bytes| match bytes as u64 > MAX_LINE_BYTES {
            true => Err(SnapshotError::LineTooLong {
                path: self.path.clone(),
                limit: MAX_LINE_BYTES,
            }),
            false => Ok(bytes),
        });
        match whole {
            Ok(1..) => Some(Ok(&self.line)),
            end => {
                self.file = None;
                end.err().map(Err)
            }
        }
    }
}

impl<T> Iterator for Entries<T> {
    type Item = Result<T, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (parse, numbers) = (self.parse, self.numbers);
            match self.next_line()? {
                Err(error) => return Some(Err(error)),
                Ok(line) => {
                    if let Some(entry) = parse(&String::from_utf8_lossy(line), numbers) {
                        return Some(Ok(entry));
                    }
                }
            }
        }
    }
}

fn parse_passwd(line: &str, numbers: Numbers) -> Option<PasswdEntry> {
    let fields = fields(line)?;
    Some(PasswdEntry {
        name: (*fields.first()?).to_owned(),
        uid: numbers.parse(fields.get(2))?,
        gid: numbers.parse(fields.get(3))?,
        home: fields.get(5).copied().unwrap_or_default().to_owned(),
    })
}

fn parse_group(line: &str, numbers: Numbers) -> Option<GroupEntry> {
    let fields = fields(line)?;
    let members = fields.get(3).copied().unwrap_or_default().split(',');
    Some(GroupEntry {
        name: (*fields.first()?).to_owned(),
        gid: numbers.parse(fields.get(2))?,
        members: members
            .map(str::trim)
            .filter(|member| !member.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

impl Numbers {
    /// Reads a field; `None` if its line is to be skipped.
    fn parse(self, field: Option<&&str>) -> Option<u32> {
        match self {
            Self::Strict => field?.parse().ok(),
            Self::Loose => Some(field.map_or(0, |field| lowest_bits(field))),
        }
    }
}

/// Returns the lowest 32 bits of a number, 0 of what is none. Beyond 64 bits only the sign counts.
fn lowest_bits(text: &str) -> u32 {
    let number = text
        .parse::<i64>()
        .unwrap_or_else(|error| match error.kind() {
            IntErrorKind::PosOverflow => i64::MAX,
            IntErrorKind::NegOverflow => i64::MIN,
            _ => 0,
        });
    u32::try_from(number & i64::from(u32::MAX)).unwrap_or_default()
}

/// Splits a line; `None` for comments and blank lines. Blanks count but around the whole line.
fn fields(line: &str) -> Option<Vec<&str>> {
    let line = line.trim();
    let used = !line.is_empty() && !line.starts_with('#');
    used.then(|| line.split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd_lines() {
        let user = |name: &str, uid, gid, home: &str| {
            Some(PasswdEntry {
                name: name.to_owned(),
                uid,
                gid,
                home: home.to_owned(),
            })
        };
        for (line, expected) in [
            ("root:x:0:0:root:/root:/bin/sh", user("root", 0, 0, "/root")),
            ("a::1:2", user("a", 1, 2, "")),
            ("  b:x:3:4::/h  ", user("b", 3, 4, "/h")),
            ("# c:x:1:1", None),
            ("", None),
            ("d:x:one:1", None),
            ("e:x:-1:1", None),
            ("f:x: 1:1", None),
            ("+::::", None),
        ] {
            assert_eq!(parse_passwd(line, Numbers::Strict), expected, "{line:?}");
        }
    }

    #[test]
    fn odd_numbers() {
        for (line, expected) in [
            ("a:x:1:2", (1, 2)),
            ("a:x:041:+5", (41, 5)),
            ("a:x:0x2a:7", (0, 7)),
            ("a:x:3", (3, 0)),
            ("a", (0, 0)),
            ("a:x:::", (0, 0)),
            ("a:x: 1:2 ", (0, 2)),
            ("a:x:-1:-42", (u32::MAX, 4_294_967_254)),
            ("a:x:4294967296:99999999999", (0, 1_215_752_191)),
            (
                "a:x:99999999999999999999:-99999999999999999999",
                (u32::MAX, 0),
            ),
        ] {
            let entry = parse_passwd(line, Numbers::Loose).expect(line);
            assert_eq!((entry.uid, entry.gid), expected, "{line:?}");
        }
    }

    #[test]
    fn group_lines() {
        let group = |name: &str, gid, members: &[&str]| {
            Some(GroupEntry {
                name: name.to_owned(),
                gid,
                members: members.iter().map(ToString::to_string).collect(),
            })
        };
        for (line, expected) in [
            ("wheel:x:10:", group("wheel", 10, &[])),
            ("adm:x:4:syslog, joe,", group("adm", 4, &["syslog", "joe"])),
            ("a:x:5", group("a", 5, &[])),
            ("b:x", None),
        ] {
            assert_eq!(parse_group(line, Numbers::Strict), expected, "{line:?}");
        }
    }
}
