//! What a tree shows, as a value to compare.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lamina_snapshotter::Entry;
use lamina_snapshotter::Tree;
use lamina_types::FileKind;
use lamina_types::Stat;

/// Everything below the root, and the root, by path.
pub(crate) type Picture = BTreeMap<String, Node>;

/// One entry. Times are left out of it by [`without_times`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: FileKind,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime_ns: i128,
    pub(crate) target: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

pub(crate) fn of_tree(tree: &Tree) -> Picture {
    let mut picture = Picture::new();
    add_entry(&tree.root().unwrap(), &mut picture);
    picture
}

fn add_entry(entry: &Entry, picture: &mut Picture) {
    let stat: &Stat = entry.stat();
    let mut data = Vec::new();
    if stat.kind == FileKind::File {
        entry.open().unwrap().read_to_end(&mut data).unwrap();
        assert_eq!(data.len() as u64, stat.size);
    }
    let node = Node {
        kind: stat.kind,
        mode: stat.mode,
        owner: (stat.uid, stat.gid),
        mtime_ns: stat.mtime_ns,
        target: stat.link_target.clone(),
        data,
        xattrs: stat.xattrs.clone(),
    };
    picture.insert(entry.path().to_string(), node);
    if stat.is_dir() {
        for name in entry.read_dir().unwrap() {
            add_entry(&entry.child(&name).unwrap(), picture);
        }
    }
}

/// Takes the picture of a mount (or of any directory) with the standard library.
pub(crate) fn of_mount(fd: &OwnedFd) -> Picture {
    let mut picture = Picture::new();
    add_path(&super::host_path(fd).join("."), "/", &mut picture);
    picture
}

fn add_path(host: &Path, shown: &str, picture: &mut Picture) {
    let meta = host.symlink_metadata().unwrap();
    let kind = kind_of(&meta.file_type());
    let node = Node {
        kind,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        mtime_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
        target: match kind {
            FileKind::Symlink => host.read_link().unwrap().as_os_str().as_bytes().to_vec(),
            _ => Vec::new(),
        },
        data: match kind {
            FileKind::File => std::fs::read(host).unwrap(),
            _ => Vec::new(),
        },
        xattrs: xattrs_of(host),
    };
    picture.insert(shown.to_owned(), node);
    if kind != FileKind::Directory {
        return;
    }
    for child in std::fs::read_dir(host).unwrap() {
        let child = child.unwrap();
        let name = child.file_name().into_string().unwrap();
        let shown = format!("{}/{name}", shown.trim_end_matches('/'));
        add_path(&child.path(), &shown, picture);
    }
}

fn kind_of(kind: &std::fs::FileType) -> FileKind {
    if kind.is_dir() {
        FileKind::Directory
    } else if kind.is_symlink() {
        FileKind::Symlink
    } else if kind.is_fifo() {
        FileKind::Fifo
    } else if kind.is_char_device() {
        FileKind::CharDevice
    } else if kind.is_block_device() {
        FileKind::BlockDevice
    } else if kind.is_socket() {
        FileKind::Socket
    } else {
        FileKind::File
    }
}

fn xattrs_of(host: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let names = xattr::list(host).unwrap();
    names
        .map(|name| {
            (
                name.as_bytes().to_vec(),
                xattr::get(host, &name).unwrap().unwrap(),
            )
        })
        .filter(|(name, _)| !name.starts_with(b"security.selinux"))
        .collect()
}

/// Forgets times, which differ between two runs of the same operations.
pub(crate) fn without_times(mut picture: Picture) -> Picture {
    for node in picture.values_mut() {
        node.mtime_ns = 0;
    }
    picture
}
