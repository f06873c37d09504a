//! What a tree knows of a file.

use std::collections::BTreeMap;

/// The kinds of file that a tree holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "the field's own words")]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Fifo,
    CharDevice,
    BlockDevice,
    Socket,
}

impl FileKind {
    const ALL: [Self; 7] = [
        Self::File,
        Self::Directory,
        Self::Symlink,
        Self::Fifo,
        Self::CharDevice,
        Self::BlockDevice,
        Self::Socket,
    ];

    /// Returns the kind that `mode` (`st_mode`) names, if it names one.
    ///
    /// ```
    /// use lamina_types::FileKind;
    ///
    /// assert_eq!(FileKind::of_mode(0o100_644), Some(FileKind::File));
    /// assert_eq!(FileKind::of_mode(0o644), None);
    /// ```
    #[must_use]
    pub fn of_mode(mode: u32) -> Option<Self> {
        let mut kinds = Self::ALL.into_iter();
        kinds.find(|kind| kind.mode() == mode & !0o7777)
    }

    /// Returns the bits that stand for this in `st_mode`.
    #[must_use]
    pub fn mode(self) -> u32 {
        match self {
            Self::File => 0o100_000,
            Self::Directory => 0o040_000,
            Self::Symlink => 0o120_000,
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::BlockDevice => 0o060_000,
            Self::Socket => 0o140_000,
        }
    }
}

/// The number of a device node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[expect(missing_docs, reason = "the field's own words")]
pub struct DeviceNumber {
    pub major: u32,
    pub minor: u32,
}

/// Describes one file: what `lstat`, `readlink` and `listxattr` say of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Permission and set-id bits, 12 of them.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes; of a symlink, the length of its target; 0 for anything without data.
    pub size: u64,
    /// Modification time in nanoseconds since 1970; may be negative.
    pub mtime_ns: i128,
    /// Number of names that the file system has for this inode.
    pub nlink: u64,
    /// Target of a symlink, else empty.
    pub link_target: Vec<u8>,
    /// Number of a device node, else zero.
    pub device: DeviceNumber,
    /// Extended attributes that belong to the image: without those of the overlay.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Stat {
    /// Describes a file of root's that has nothing but a mode.
    #[must_use]
    pub fn new(kind: FileKind, mode: u32) -> Self {
        Self {
            kind,
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            mtime_ns: 0,
            nlink: 1,
            link_target: Vec::new(),
            device: DeviceNumber::default(),
            xattrs: BTreeMap::new(),
        }
    }

    /// Says whether this is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }
}
