//! What makes a sequence of paths a walk of one directory (row SVC-05).
//!
//! Paths are compared component by component, so `a/b` comes before `a.b`: to a comparison of the
//! whole texts, `/` is the lowest character. Each path's directory must have been sent as a
//! directory. Together with that, the order rules out duplicates, since a name must be greater
//! than the last one of its directory.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::hash::RandomState;

use lamina_types::FileKind;

use super::FileEntry;
use crate::SessionError;
use crate::host::split;

/// Longest path, and longest name in one: no Linux system opens longer ones.
const PATH_BYTES: usize = 4095;
const NAME_BYTES: usize = 255;

/// The most extended attributes of a whole transfer: receivers keep those of all entries. A tree
/// of a million files has room for a capability or a label on each.
const XATTR_BYTES: usize = 256 << 20;

/// What keeping an attribute takes beside its name and value.
const XATTR_COST: usize = 64;

/// Checks entries one by one; what it keeps is the way down to the last one, and eight bytes for
/// each file.
#[derive(Debug)]
pub(super) struct PathOrder {
    /// The directories on the way to the last entry, the root first.
    open: Vec<OpenDirectory>,
    /// Hashes of the files so far, under a key that the sender does not know.
    files: HashSet<u64>,
    hasher: RandomState,
    /// What the attributes of all entries so far take.
    xattr_bytes: usize,
}

#[derive(Debug)]
struct OpenDirectory {
    path: Vec<u8>,
    last: Vec<u8>,
}

impl PathOrder {
    pub(super) fn new() -> Self {
        Self {
            open: vec![OpenDirectory {
                path: Vec::new(),
                last: Vec::new(),
            }],
            files: HashSet::new(),
            hasher: RandomState::new(),
            xattr_bytes: 0,
        }
    }

    /// Accepts the next entry.
    pub(super) fn check(&mut self, entry: &FileEntry) -> Result<(), SessionError> {
        check_path(&entry.path)?;
        self.check_size(entry)?;
        self.check_order(&entry.path)?;
        if entry.stat.kind == FileKind::Directory {
            self.open.push(OpenDirectory {
                path: entry.path.clone(),
                last: Vec::new(),
            });
            return Ok(());
        }
        match &entry.hard_link {
            Some(target) if !self.files.contains(&self.hasher.hash_one(target)) => {
                Err(SessionError::Protocol(format!(
                    "invalid link {} to unknown path: {:?}",
                    shown(&entry.path),
                    shown(target)
                )))
            }
            Some(_) => Ok(()),
            None => {
                self.files.insert(self.hasher.hash_one(&entry.path));
                Ok(())
            }
        }
    }

    /// Accepts what an entry holds beside its path, as long as all of it can be kept.
    fn check_size(&mut self, entry: &FileEntry) -> Result<(), SessionError> {
        let xattrs = entry.stat.xattrs.iter();
        let added = xattrs.map(|(name, value)| name.len() + value.len() + XATTR_COST);
        self.xattr_bytes = self.xattr_bytes.saturating_add(added.sum());
        if entry.stat.link_target.len() > PATH_BYTES {
            return Err(refused("link target too long", &entry.path));
        }
        if self.xattr_bytes > XATTR_BYTES {
            return Err(refused("too many extended attributes", &entry.path));
        }
        Ok(())
    }

    fn check_order(&mut self, path: &[u8]) -> Result<(), SessionError> {
        let (parent, name) = split(path);
        // A directory that was left can not be entered again: its name is the last one of its own
        // directory, and the next must be greater.
        while self.open.len() > 1 && self.open.last().is_some_and(|dir| dir.path != parent) {
            self.open.pop();
        }
        match self.open.last_mut() {
            Some(dir) if dir.path == parent && dir.last.as_slice() < name => {
                dir.last = name.to_vec();
                Ok(())
            }
            _ => Err(refused("changes out of order", path)),
        }
    }
}

/// Accepts a relative path without empty parts, `.` and `..`.
fn check_path(path: &[u8]) -> Result<(), SessionError> {
    let fault = if path.first() == Some(&b'/') {
        "absolute path"
    } else if path.split(|&byte| byte == b'/').any(|name| name == b"..") {
        "escape check"
    } else if path.contains(&0) || path.split(|&b| b == b'/').any(|n| matches!(n, b"" | b".")) {
        "unclean path"
    } else if path.len() > PATH_BYTES || path.split(|&b| b == b'/').any(|n| n.len() > NAME_BYTES) {
        "path too long"
    } else {
        return Ok(());
    };
    Err(refused(fault, path))
}

fn refused(fault: &str, path: &[u8]) -> SessionError {
    SessionError::Protocol(format!("{fault}: {:?}", shown(path)))
}

/// A path for a message; what a client sends must not make messages long.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(PATH_BYTES)]).into_owned()
}

#[cfg(test)]
mod tests {
    use lamina_types::Stat;

    use super::*;

    /// `name/` is a directory, `name>target` a hard link, else a file.
    fn entry(text: &str) -> FileEntry {
        let (path, hard_link) = match text.split_once('>') {
            Some((path, target)) => (path, Some(target.as_bytes().to_vec())),
            None => (text, None),
        };
        let directory = path.len() > 1 && path.ends_with('/') && !path.ends_with("//");
        let path = if directory {
            &path[..path.len() - 1]
        } else {
            path
        };
        let kind = match directory {
            true => FileKind::Directory,
            false => FileKind::File,
        };
        FileEntry {
            path: path.as_bytes().to_vec(),
            hard_link,
            stat: Stat::new(kind, 0),
        }
    }

    fn check(entries: &[&str]) -> Result<(), String> {
        let mut order = PathOrder::new();
        entries
            .iter()
            .try_for_each(|text| order.check(&entry(text)))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn walks_are_accepted() {
        for walk in [
            &[][..],
            &["a", "b", "c"],
            &["a/", "a/b", "a.b"],
            &["a/", "a/b/", "a/b/c", "a/c", "a-b", "b/", "b/a"],
            &["a", "b>a", "c/", "c/d>a"],
            &["..c", "a..b"],
            &["...", "..a/", "..a/b"],
            &["\u{e9}", "\u{ea}"],
        ] {
            assert_eq!(check(walk), Ok(()), "{walk:?}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for (walk, wanted) in [
            (&["b", "a"][..], "changes out of order: \"a\""),
            (&["a", "a"], "changes out of order: \"a\""),
            (&["a/", "a/"], "changes out of order: \"a\""),
            (&["a/", "a/b", "a/b"], "changes out of order: \"a/b\""),
            (&["a/", "a.b", "a/b"], "changes out of order: \"a/b\""),
            (&["a/b"], "changes out of order: \"a/b\""),
            (&["a", "a/b"], "changes out of order: \"a/b\""),
            (&["a/", "b", "a/c"], "changes out of order: \"a/c\""),
            (&["/a"], "absolute path: \"/a\""),
            (&["/"], "absolute path: \"/\""),
            (&[".."], "escape check: \"..\""),
            (&["../a"], "escape check: \"../a\""),
            (&["a/", "a/../../b"], "escape check: \"a/../../b\""),
            (&[""], "unclean path: \"\""),
            (&["."], "unclean path: \".\""),
            (&["a/", "a/./b"], "unclean path: \"a/./b\""),
            (&["a//"], "unclean path: \"a//\""),
            (&["a\0b"], "unclean path: \"a\\0b\""),
            (&["a>b"], "invalid link a to unknown path: \"b\""),
            (&["a/", "b>a"], "invalid link b to unknown path: \"a\""),
            (&["a>a"], "invalid link a to unknown path: \"a\""),
            (&["a", "b>../a"], "invalid link b to unknown path: \"../a\""),
        ] {
            let error = check(walk).expect_err(wanted);
            assert_eq!(
                error,
                format!("the client broke the transfer protocol: {wanted}"),
                "{walk:?}"
            );
        }
    }

    /// Every receiver keeps the attributes and link targets of all entries (row SVC-05).
    #[test]
    fn what_entries_hold_is_bounded() {
        let mut order = PathOrder::new();
        let mut link = entry("a");
        link.stat.kind = FileKind::Symlink;
        link.stat.link_target = vec![b't'; PATH_BYTES];
        order.check(&link).expect("as long as links are");
        link.path = b"b".to_vec();
        link.stat.link_target.push(b't');
        let error = order.check(&link).expect_err("too long").to_string();
        assert!(error.ends_with("link target too long: \"b\""), "{error}");
    }

    #[test]
    fn the_attributes_of_all_entries_are_bounded() {
        let mut order = PathOrder::new();
        let mut file = entry("a");
        let value = vec![0; (1 << 20) - b"user.x".len() - XATTR_COST];
        file.stat.xattrs.insert(b"user.x".to_vec(), value);
        for count in 0..XATTR_BYTES >> 20 {
            file.path = format!("{count:04}").into_bytes();
            order.check(&file).expect("within the bound");
        }
        file.path = b"a".to_vec();
        let error = order.check(&file).expect_err("too many").to_string();
        let wanted = "too many extended attributes: \"a\"";
        assert!(error.ends_with(wanted), "{error}");
    }

    #[test]
    fn endless_names_are_refused() {
        let error = check(&[&"n".repeat(256)]).expect_err("too long");
        assert!(error.contains("path too long"), "{error}");
    }
}
