//! Are two files the same, as far as a tree shows?

use std::fs::File;
use std::io::Read as _;

use lamina_types::CancelToken;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use lamina_types::Stat;

use crate::SnapshotError;
use crate::tree::Entry;

/// Bytes that are compared at a time, and between two looks at the cancel token.
const CHUNK_BYTES: usize = 1 << 20;

/// Says whether two entries that are not directories are the same: by identity first, then by
/// metadata, and last by data.
pub(crate) fn same_file(a: &Entry, b: &Entry, cancel: &CancelToken) -> Result<bool, SnapshotError> {
    if is_same_inode(a, b) {
        return Ok(true);
    }
    if !same_metadata(a.stat(), b.stat()) {
        return Ok(false);
    }
    if a.stat().kind != FileKind::File {
        return Ok(true);
    }
    same_data(&a.open()?, &b.open()?, a.path(), cancel)
}

fn is_same_inode(a: &Entry, b: &Entry) -> bool {
    let (a, b) = (a.origin(), b.origin());
    (a.device, a.inode) == (b.device, b.inode)
}

/// Compares everything but the number of names, which is not a property of one name.
fn same_metadata(a: &Stat, b: &Stat) -> bool {
    let a = Stat {
        nlink: b.nlink,
        ..a.clone()
    };
    a == *b
}

fn same_data(
    a: &File,
    b: &File,
    path: &RootedPath,
    cancel: &CancelToken,
) -> Result<bool, SnapshotError> {
    let (mut chunk_a, mut chunk_b) = (Vec::new(), Vec::new());
    loop {
        cancel.check()?;
        for (file, chunk) in [(a, &mut chunk_a), (b, &mut chunk_b)] {
            chunk.clear();
            let mut part = file.take(CHUNK_BYTES as u64);
            part.read_to_end(chunk).at(path)?;
        }
        if chunk_a != chunk_b {
            return Ok(false);
        }
        if chunk_a.is_empty() {
            return Ok(true);
        }
    }
}
