//! Files of a tree as entries of a tar.

use std::collections::BTreeMap;

use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::Stat;

use crate::archive::Entry;
use crate::archive::EntryKind;

/// Returns the entry for a file of a tree; `None` for sockets, which no tar can hold.
pub(crate) fn entry_of(path: &[u8], stat: &Stat) -> Option<Entry> {
    let kind = match stat.kind {
        FileKind::File => EntryKind::File,
        FileKind::Directory => EntryKind::Directory,
        FileKind::Symlink => EntryKind::Symlink,
        FileKind::Fifo => EntryKind::Fifo,
        FileKind::CharDevice => EntryKind::CharDevice,
        FileKind::BlockDevice => EntryKind::BlockDevice,
        FileKind::Socket => return None,
    };
    let mut path = path.to_vec();
    if kind == EntryKind::Directory {
        path.push(b'/');
    }
    Some(Entry {
        path,
        kind,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        mtime_ns: stat.mtime_ns,
        size: if kind == EntryKind::File {
            stat.size
        } else {
            0
        },
        link: stat.link_target.clone(),
        device: stat.device,
        xattrs: representable(&stat.xattrs),
    })
}

/// PAX has no way to write a name with an equals sign.
fn representable(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut xattrs = xattrs.clone();
    xattrs.retain(|name, _| !name.contains(&b'='));
    xattrs
}

/// Returns the entry for a further name of the file that the tar already has as `first`.
pub(crate) fn hard_link_entry(path: &[u8], first: &[u8], stat: &Stat) -> Option<Entry> {
    let mut entry = entry_of(path, stat)?;
    entry.kind = EntryKind::HardLink;
    entry.size = 0;
    entry.link = first.to_vec();
    entry.device = DeviceNumber::default();
    // The first name has them, and some readers refuse them here.
    entry.xattrs.clear();
    Some(entry)
}

/// Returns the entry for a file that no tree holds: owned by root, of no particular time.
pub(crate) fn file_entry(path: &[u8], mode: u32, size: u64) -> Entry {
    Entry {
        path: path.to_vec(),
        kind: EntryKind::File,
        mode,
        uid: 0,
        gid: 0,
        mtime_ns: 0,
        size,
        link: Vec::new(),
        device: DeviceNumber::default(),
        xattrs: BTreeMap::new(),
    }
}
