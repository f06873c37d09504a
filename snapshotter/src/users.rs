//! Looks users up in `/etc/passwd` and `/etc/group` of a tree.
//!
//! Confined to the tree, regular files only, 10 MiB at most (row FIL-05). A line that does not parse
//! is skipped, as the C library does. The files are read line by line, so what is looked for costs
//! the memory of one line.

use std::fs::File;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Take;

use lamina_types::IoContext;
use lamina_types::RootedPath;

use crate::SnapshotError;
use crate::tree::Follow;
use crate::tree::Tree;

/// The most that is read of either file (row FIL-05).
const MAX_BYTES: u64 = 10 << 20;

/// The longest line: a group of some ten thousand members.
const MAX_LINE_BYTES: u64 = 1 << 20;

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
pub fn passwd(tree: &Tree) -> Result<Entries<PasswdEntry>, SnapshotError> {
    Entries::open(tree, "/etc/passwd", parse_passwd)
}

/// Reads `/etc/group`; empty if there is none.
///
/// # Errors
/// As [`passwd`].
pub fn groups(tree: &Tree) -> Result<Entries<GroupEntry>, SnapshotError> {
    Entries::open(tree, "/etc/group", parse_group)
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
    parse: fn(&str) -> Option<T>,
    line: Vec<u8>,
}

impl<T> Entries<T> {
    fn open(tree: &Tree, path: &str, parse: fn(&str) -> Option<T>) -> Result<Self, SnapshotError> {
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
            let parse = self.parse;
            match self.next_line()? {
                Err(error) => return Some(Err(error)),
                Ok(line) => {
                    if let Some(entry) = parse(&String::from_utf8_lossy(line)) {
                        return Some(Ok(entry));
                    }
                }
            }
        }
    }
}

fn parse_passwd(line: &str) -> Option<PasswdEntry> {
    let fields = fields(line)?;
    Some(PasswdEntry {
        name: (*fields.first()?).to_owned(),
        uid: fields.get(2)?.parse().ok()?,
        gid: fields.get(3)?.parse().ok()?,
        home: fields.get(5).copied().unwrap_or_default().to_owned(),
    })
}

fn parse_group(line: &str) -> Option<GroupEntry> {
    let fields = fields(line)?;
    let members = fields.get(3).copied().unwrap_or_default().split(',');
    Some(GroupEntry {
        name: (*fields.first()?).to_owned(),
        gid: fields.get(2)?.parse().ok()?,
        members: members
            .map(str::trim)
            .filter(|member| !member.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

/// Splits a line; `None` for comments and blank lines.
fn fields(line: &str) -> Option<Vec<&str>> {
    let line = line.trim();
    let used = !line.is_empty() && !line.starts_with('#');
    used.then(|| line.split(':').map(str::trim).collect())
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
            ("+::::", None),
        ] {
            assert_eq!(parse_passwd(line), expected, "{line:?}");
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
            assert_eq!(parse_group(line), expected, "{line:?}");
        }
    }
}
