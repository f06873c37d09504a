//! Finding out what is new since the last transfer (row SVC-03).

use std::cmp::Ordering;

use lamina_session::FileEntry;
use lamina_session::host::Fingerprint;
use lamina_session::host::HostEntry;
use lamina_types::FileKind;
use lamina_types::Sha256Hasher;

use super::super::index::IndexEntry;

/// The entries of the last transfer, gone through side by side with the new ones: both come in
/// path order.
pub(super) struct Known {
    entries: Vec<IndexEntry>,
    at: usize,
}

/// How an entry relates to the last transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Verdict {
    /// It is what it was.
    pub(super) same: bool,
    /// Nothing between it and the entry before it has gone.
    pub(super) adjacent: bool,
}

impl Known {
    pub(super) const fn new(entries: Vec<IndexEntry>) -> Self {
        Self { entries, at: 0 }
    }

    /// Looks for the next entry.
    pub(super) fn compare(&mut self, entry: &HostEntry) -> Verdict {
        let before = self.at;
        while let Some(known) = self.entries.get(self.at)
            && path_order(&known.entry.path, &entry.path) == Ordering::Less
        {
            self.at += 1;
        }
        let adjacent = self.at == before;
        let known = self.entries.get(self.at);
        let known = known.filter(|known| known.entry.path == entry.path);
        if known.is_some() {
            self.at += 1;
        }
        Verdict {
            same: known.is_some_and(|known| known.trusted && known.entry == *entry),
            adjacent,
        }
    }

    /// Returns the entries that were gone through.
    pub(super) fn passed(&self) -> &[IndexEntry] {
        &self.entries[..self.at]
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.entries.len()
    }
}

/// Compares component by component: what is in a directory follows it at once.
pub(super) fn path_order(a: &[u8], b: &[u8]) -> Ordering {
    // No name holds a zero byte.
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

/// Returns what is remembered of an entry; see the format of the index.
pub(super) fn host_entry(entry: &FileEntry) -> HostEntry {
    let stat = &entry.stat;
    let (device, inode) = further_digest(entry);
    let is_node = matches!(stat.kind, FileKind::CharDevice | FileKind::BlockDevice);
    HostEntry {
        path: entry.path.clone(),
        fingerprint: Fingerprint {
            kind: stat.kind,
            mode: stat.mode & 0o7777,
            uid: stat.uid,
            gid: stat.gid,
            size: if stat.kind == FileKind::File {
                stat.size
            } else {
                0
            },
            mtime_ns: stat.mtime_ns,
            ctime_ns: 0,
            device,
            inode,
            links: 1,
            node: if is_node {
                (stat.device.major, stat.device.minor)
            } else {
                (0, 0)
            },
        },
    }
}

/// Digests what a fingerprint has no field for.
fn further_digest(entry: &FileEntry) -> (u64, u64) {
    let stat = &entry.stat;
    if stat.link_target.is_empty() && stat.xattrs.is_empty() && entry.hard_link.is_none() {
        return (0, 0);
    }
    let mut further = Sha256Hasher::new();
    further.update_field(&stat.link_target);
    further.update_field(entry.hard_link.as_deref().unwrap_or_default());
    for (name, value) in &stat.xattrs {
        further.update_field(name);
        further.update_field(value);
    }
    let digest = u128::from_le_bytes(
        *further
            .finish()
            .as_bytes()
            .first_chunk::<16>()
            .unwrap_or(&[0; 16]),
    );
    let low = u64::try_from(digest & u128::from(u64::MAX)).unwrap_or_default();
    let high = u64::try_from(digest >> 64).unwrap_or_default();
    (low, high)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lamina_types::DeviceNumber;
    use lamina_types::Stat;

    use super::*;

    fn file(path: &str, size: u64) -> FileEntry {
        FileEntry {
            path: path.as_bytes().to_vec(),
            stat: Stat {
                kind: FileKind::File,
                mode: 0o644,
                uid: 0,
                gid: 0,
                size,
                mtime_ns: 5,
                nlink: 1,
                link_target: Vec::new(),
                device: DeviceNumber::default(),
                xattrs: BTreeMap::new(),
            },
            hard_link: None,
        }
    }

    fn known(paths: &[&str]) -> Known {
        let entry = |path: &&str| IndexEntry {
            entry: host_entry(&file(path, 1)),
            trusted: true,
        };
        Known::new(paths.iter().map(entry).collect())
    }

    #[test]
    fn directories_come_before_what_sorts_after_their_slash() {
        for (less, greater) in [("a", "a/b"), ("a/b", "a-b"), ("a/z", "a.b"), ("a", "b")] {
            let order = path_order(less.as_bytes(), greater.as_bytes());
            assert_eq!(order, Ordering::Less, "{less} {greater}");
        }
    }

    #[test]
    fn entries_are_found_side_by_side() {
        let mut known = known(&["a", "b", "c", "e"]);
        for (path, size, same, adjacent) in [
            ("a", 1, true, true),
            ("b", 2, false, true),
            ("bb", 1, false, true),
            ("e", 1, true, false),
            ("f", 1, false, true),
        ] {
            let verdict = known.compare(&host_entry(&file(path, size)));
            assert_eq!(verdict, Verdict { same, adjacent }, "{path}");
        }
        assert!(known.is_at_end());
        assert_eq!(known.passed().len(), 4);
    }

    #[test]
    fn every_difference_counts() {
        let base = file("a", 1);
        let change = |change: fn(&mut FileEntry)| {
            let mut entry = base.clone();
            change(&mut entry);
            host_entry(&entry)
        };
        for changed in [
            change(|e| e.stat.size = 2),
            change(|e| e.stat.mtime_ns = 6),
            change(|e| e.stat.mode = 0o600),
            change(|e| e.stat.uid = 1),
            change(|e| e.stat.gid = 1),
            change(|e| e.stat.kind = FileKind::Fifo),
            change(|e| e.stat.link_target = b"x".to_vec()),
            change(|e| e.hard_link = Some(b"x".to_vec())),
            change(|e| {
                e.stat.xattrs.insert(b"user.a".to_vec(), b"1".to_vec());
            }),
        ] {
            assert_ne!(changed, host_entry(&base));
        }
    }
}
