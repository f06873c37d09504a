//! The tar format, both ways.
//!
//! ```text
//! bytes -> TarReader -> Entry (path, kind, owner, times, xattrs) + data   unpack/
//! Entry + data -> TarWriter -> bytes                                      pack.rs, tree_tar.rs
//! ```
//! The `tar` crate lays out header blocks; extension headers are ours, because everything that an
//! archive can make us remember has a bound here (an image is input of strangers) and because what
//! we write must not depend on a library's version.

mod header;
mod number;
mod pax;
mod reader;
mod sparse;
mod writer;

use std::collections::BTreeMap;

use lamina_types::DeviceNumber;

pub(crate) use reader::TarReader;
pub(crate) use writer::TarWriter;

/// Bytes of a header block; data is padded to a multiple of it.
pub(crate) const BLOCK: usize = 512;
/// Bytes that one extension header may have, as in Go's reader.
pub(crate) const MAX_EXTENSION_BYTES: u64 = 1 << 20;
/// What extended attributes are called in PAX records.
pub(crate) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// What an entry makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EntryKind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// The header of one entry, all extensions applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// As written, without leading or trailing changes.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// Permission and set-id bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime_ns: i128,
    /// Bytes of data, holes included; 0 for all but files.
    pub(crate) size: u64,
    /// Target of a link.
    pub(crate) link: Vec<u8>,
    pub(crate) device: DeviceNumber,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}
