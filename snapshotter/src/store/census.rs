//! Two numbers by which it is seen whether a layer still has what was sealed.
//!
//! ```text
//! entries   how many there are in fs/, itself included
//! sum       of one number for each, modulo 2^64: the first 8 bytes, little-endian, of sha256 over
//!           directory:field name:field mode:u32 uid:u32 gid:u32 size:u64 major:u32 minor:u32
//!           modified: seconds:i64 nanoseconds:u32
//! ```
//!
//! `directory` is the path from `fs/` on, which is `/`; a directory counts with its own path and an
//! empty name. The rest is what the disk says. Only files and symlinks have a size, only devices a
//! number, and whiteouts have nothing but their mode's kind. A sum has no order, so sealing, which
//! passes by everything once and in any order, needs no list.
//!
//! What went missing, was added, cut, replaced or written to differs. What a disk returns wrongly without
//! the file having changed does not; nobody reads the data for this. It is for accidents: whoever wants
//! to deceive it can.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use lamina_types::CancelToken;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use lamina_types::Sha256Hasher;
use serde::Deserialize;
use serde::Serialize;

use crate::SnapshotError;
use crate::fdio;
use crate::fdio::RawStat;

/// What a sealed layer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Census {
    entries: u64,
    sum: u64,
}

impl Census {
    /// Counts the entry `name` of the directory `dir`, or that directory itself if `name` is empty.
    pub(crate) fn count(&mut self, dir: &RootedPath, name: &[u8], raw: &RawStat) {
        if raw.is_whiteout() {
            return self.count_whiteout(dir, name);
        }
        let mut hasher = place(dir, name, raw.mode());
        let (uid, gid) = raw.owner();
        hasher.update(&uid.to_le_bytes());
        hasher.update(&gid.to_le_bytes());
        let (has_size, is_device) = match raw.kind() {
            FileKind::File | FileKind::Symlink => (true, false),
            FileKind::CharDevice | FileKind::BlockDevice => (false, true),
            FileKind::Directory | FileKind::Fifo | FileKind::Socket => (false, false),
        };
        let size = if has_size { raw.size() } else { 0 };
        hasher.update(&size.to_le_bytes());
        let device = raw.rdev();
        for number in [device.major, device.minor] {
            let number = if is_device { number } else { 0 };
            hasher.update(&number.to_le_bytes());
        }
        let (seconds, nanoseconds) = raw.mtime();
        hasher.update(&seconds.to_le_bytes());
        hasher.update(&nanoseconds.to_le_bytes());
        self.add(hasher);
    }

    /// Counts a deleted name.
    pub(crate) fn count_whiteout(&mut self, dir: &RootedPath, name: &[u8]) {
        const REST_BYTES: usize = 4 + 4 + 8 + 4 + 4 + 8 + 4;
        let kind = FileKind::CharDevice.mode();
        let mut hasher = place(dir, name, kind);
        hasher.update(&[0; REST_BYTES]);
        self.add(hasher);
    }

    /// Adds what another count has found elsewhere in the layer.
    pub(crate) fn add_all(&mut self, other: Self) {
        self.entries += other.entries;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    fn add(&mut self, hasher: Sha256Hasher) {
        let digest = hasher.finish();
        let (first, _) = digest
            .as_bytes()
            .split_first_chunk()
            .expect("32 bytes are more than 8");
        self.entries += 1;
        self.sum = self.sum.wrapping_add(u64::from_le_bytes(*first));
    }

    /// Counts what is below the layer's folder `folder` now. No file is opened.
    ///
    /// # Errors
    /// I/O errors: a directory that cannot be read; [`SnapshotError::Cancelled`].
    pub(crate) fn of(folder: OwnedFd, cancel: &CancelToken) -> Result<Self, SnapshotError> {
        let mut census = Self::default();
        let mut todo = vec![(Arc::new(folder), b"fs".to_vec(), RootedPath::root())];
        while let Some((parent, name, path)) = todo.pop() {
            cancel.check()?;
            let dir = Arc::new(fdio::open_dir(&parent, &name).at(&path)?);
            census.count(&path, b"", &fdio::stat_fd(&dir).at(&path)?);
            for raw in fdio::read_names(&dir).at(&path)? {
                match fdio::stat_at(&dir, &raw.name).at(&path)? {
                    Some(stat) if stat.is_dir() => {
                        let path = path.join(&raw.name);
                        todo.push((Arc::clone(&dir), raw.name, path));
                    }
                    Some(stat) => census.count(&path, &raw.name, &stat),
                    None => {}
                }
            }
        }
        Ok(census)
    }

    /// Says in words how `found` differs.
    pub(crate) fn difference(&self, found: &Self) -> Option<String> {
        if self == found {
            return None;
        }
        Some(match self.entries == found.entries {
            true => "a file has changed".to_owned(),
            false => format!("{} entries instead of {}", found.entries, self.entries),
        })
    }
}

fn place(dir: &RootedPath, name: &[u8], mode: u32) -> Sha256Hasher {
    let mut hasher = Sha256Hasher::new();
    hasher.update_field(dir.as_bytes());
    hasher.update_field(name);
    hasher.update(&mode.to_le_bytes());
    hasher
}
