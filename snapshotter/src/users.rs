//! Looks users up in `/etc/passwd` and `/etc/group` of a tree.
//!
//! Confined to the tree, regular files only, 10 MiB at most (row FIL-05). A line that does not parse
//! is skipped, as the C library does.

use std::io::Read as _;

use lamina_types::IoContext;
use lamina_types::RootedPath;

use crate::SnapshotError;
use crate::tree::Follow;
use crate::tree::Tree;

/// The most that is read of either file (row FIL-05).
const MAX_BYTES: u64 = 10 << 20;

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
/// If it is not a regular file, is too large, or cannot be read.
pub fn passwd(tree: &Tree) -> Result<Vec<PasswdEntry>, SnapshotError> {
    let text = read(tree, "/etc/passwd")?;
    Ok(text.lines().filter_map(parse_passwd).collect())
}

/// Reads `/etc/group`; empty if there is none.
///
/// # Errors
/// If it is not a regular file, is too large, or cannot be read.
pub fn groups(tree: &Tree) -> Result<Vec<GroupEntry>, SnapshotError> {
    let text = read(tree, "/etc/group")?;
    Ok(text.lines().filter_map(parse_group).collect())
}

fn read(tree: &Tree, path: &str) -> Result<String, SnapshotError> {
    let path = RootedPath::new(path);
    let entry = match tree.lookup(&path, Follow::Last) {
        Err(error) if error.is_not_found() => return Ok(String::new()),
        found => found?,
    };
    let limit = MAX_BYTES;
    if entry.stat().size > limit {
        return Err(SnapshotError::TooLarge { path, limit });
    }
    let mut text = Vec::new();
    let file = entry.open()?;
    file.take(limit).read_to_end(&mut text).at(&path)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
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
