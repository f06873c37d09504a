//! Listing directories.
//!
//! Directories are not opened, which saves two requests each time one is read. So a position in a listing
//! must mean the same whenever it is taken: entries are in the order of a hash of their names, and an
//! entry's position is its hash. Names that come and go move no others.

use std::hash::Hasher as _;
use std::sync::Arc;

use fuser::FileAttr;
use fuser::FileType;
use fuser::INodeNo;
use lamina_types::FileKind;
use rustix::io::Errno;
use rustix::io::Result;

use super::attr::file_type;
use super::attr::no_file;
use super::node::Node;
use super::numbers::ROOT;
use super::overlay::Overlay;
use crate::Owners;
use crate::tree::Part;
use crate::tree::Shown;
use crate::tree::read_merged_kinds;

/// Positions are positive numbers for programs.
const POSITIONS: u64 = i64::MAX.unsigned_abs();

/// The first position that a name can have, after `.` and `..`.
const FIRST: u64 = 3;

/// What a directory shows, in the order of positions.
pub(super) struct Listing(Vec<Listed>);

/// One line of a listing.
pub(super) struct Listed {
    /// Its position.
    pub(super) cookie: u64,
    pub(super) ino: u64,
    pub(super) kind: FileType,
    pub(super) name: Vec<u8>,
}

impl Listing {
    /// Puts `entries` in order. Should two names have one hash, the second gets the next position.
    fn new(mut entries: Vec<Listed>) -> Self {
        entries.sort_unstable_by(|a, b| (a.cookie, &a.name).cmp(&(b.cookie, &b.name)));
        let mut last = 0;
        for entry in &mut entries {
            entry.cookie = entry.cookie.max(last + 1);
            last = entry.cookie;
        }
        Self(entries)
    }

    /// Returns the lines after the position `offset`.
    pub(super) fn after(&self, offset: u64) -> &[Listed] {
        let start = self.0.partition_point(|listed| listed.cookie <= offset);
        &self.0[start..]
    }
}

fn position(name: &[u8]) -> u64 {
    // Always with the same keys.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(name);
    // Room above for names with one hash.
    (hasher.finish() & POSITIONS).clamp(FIRST, POSITIONS - (1 << 32))
}

impl Overlay {
    /// Returns the listing of a directory, taken when it was last read from the start; it is kept until
    /// it was read to the end.
    pub(super) fn listing(&self, node: &Arc<Node>, offset: u64) -> Result<Arc<Listing>> {
        let kept = match offset {
            0 => None,
            _ => node.state().listing.clone(),
        };
        let listing = match kept {
            Some(kept) => kept,
            None => Arc::new(Listing::new(self.list(node)?)),
        };
        let at_end = listing.after(offset).is_empty();
        node.state().listing = (!at_end).then(|| Arc::clone(&listing));
        Ok(listing)
    }

    fn list(&self, node: &Arc<Node>) -> Result<Vec<Listed>> {
        let parts = match self.parts(node) {
            Ok(parts) => parts,
            // Removed while somebody is in it: empty.
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let dots = [(1, node.ino, "."), (2, self.parent_of(node), "..")];
        let dots = dots.into_iter().map(|(cookie, ino, name)| Listed {
            cookie,
            ino,
            kind: FileType::Directory,
            name: name.into(),
        });
        let shown = read_merged_kinds(&parts)?.into_iter();
        let listed = shown.map(|shown| self.listed(&parts, shown));
        Ok(dots.chain(listed).collect())
    }

    /// Tells the kernel of one line of a listing by `tell`, which says whether it had no room for it.
    /// Returns that; a name that is gone by now is left out.
    pub(super) fn describe_listed(
        &self,
        dir: &Arc<Node>,
        listed: &Listed,
        tell: impl FnOnce(&FileAttr) -> bool,
    ) -> Result<bool> {
        if matches!(listed.name.as_slice(), b"." | b"..") {
            // The kernel takes no more than the number and the kind from these.
            return Ok(tell(&FileAttr {
                ino: INodeNo(listed.ino),
                kind: listed.kind,
                ..no_file()
            }));
        }
        let Some((node, raw)) = self.lookup(dir, &listed.name)? else {
            return Ok(false);
        };
        let full = tell(&self.attributes(&node, &raw));
        if full {
            self.table.forget(node.ino, 1);
        }
        Ok(full)
    }

    fn parent_of(&self, node: &Node) -> u64 {
        node.any_name().map_or(ROOT, |name| name.parent)
    }

    fn listed(&self, parts: &[Part], shown: Shown) -> Listed {
        let part = parts.get(shown.part);
        let layer = part.and_then(Part::layer);
        let kind = match part.and_then(|part| kind_behind(part, &shown)) {
            Some(kind) => file_type(kind),
            None => kind_of(shown.hint),
        };
        Listed {
            cookie: position(&shown.name),
            ino: self.table.numbers.of((layer, shown.inode)),
            kind,
            name: shown.name,
        }
    }
}

/// Returns what a file truly is, if it may stand for something else.
fn kind_behind(part: &Part, shown: &Shown) -> Option<FileKind> {
    let may = part.owners == Owners::Stored && shown.hint == rustix::fs::FileType::RegularFile;
    let raw = may.then(|| part.stat_at(&shown.name))?;
    raw.ok().flatten().map(|raw| raw.kind())
}

/// Turns what `getdents` says into what the kernel is told.
fn kind_of(hint: rustix::fs::FileType) -> FileType {
    match hint {
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::Fifo => FileType::NamedPipe,
        rustix::fs::FileType::Socket => FileType::Socket,
        rustix::fs::FileType::CharacterDevice => FileType::CharDevice,
        rustix::fs::FileType::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(cookie: u64, name: &str) -> Listed {
        Listed {
            cookie,
            ino: 0,
            kind: FileType::RegularFile,
            name: name.into(),
        }
    }

    #[test]
    fn positions_are_distinct_and_read_on_from() {
        let listing = Listing::new(vec![
            listed(7, "b"),
            listed(9, "c"),
            listed(7, "a"),
            listed(8, "d"),
        ]);
        let names = |offset| -> Vec<String> {
            let lines = listing.after(offset).iter();
            lines
                .map(|line| String::from_utf8(line.name.clone()).unwrap())
                .collect()
        };
        assert_eq!(names(0), ["a", "b", "d", "c"]);
        assert_eq!(names(8), ["d", "c"]);
        assert_eq!(names(10), Vec::<String>::new());
        assert_eq!(position(b"name"), position(b"name"));
        assert!(position(b"name") >= FIRST && position(b"name") < POSITIONS);
    }
}
