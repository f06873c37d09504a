//! How much an archive may become.
//!
//! Some kilobytes can stand for any number of zeros. Limits are therefore in proportion to the length
//! of the archive, with a share that every archive may have; what goes beyond is refused by the name of
//! the entry, before anything of it is written.

use std::io::Read;

use crate::ContentError;
use crate::archive::BLOCK;
use crate::archive::Entry;

/// What is allowed to an archive; see [`crate::unpack_archive`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArchiveLimits {
    /// Bytes that every archive may hold, headers included and holes not.
    pub free_bytes: u64,
    /// Beyond them: bytes for each byte of the archive. gzip alone reaches 1,032 with nothing but
    /// zeros; trees of files stay below 20.
    pub ratio: u64,
    /// Entries that every archive may have.
    pub free_entries: u64,
    /// Beyond them: bytes of the archive that each entry must take.
    pub bytes_per_entry: u64,
}

impl Default for ArchiveLimits {
    /// 4 GiB or 200 times the archive, and a million entries or one for 8 bytes of the archive.
    fn default() -> Self {
        Self {
            free_bytes: 4 << 30,
            ratio: 200,
            free_entries: 1_000_000,
            bytes_per_entry: 8,
        }
    }
}

/// Counts what an archive of a known length becomes.
pub(super) struct Meter {
    max_bytes: u64,
    max_entries: u64,
    bytes: u64,
    entries: u64,
}

impl Meter {
    /// Starts for an archive of `length` bytes.
    pub(super) fn new(limits: ArchiveLimits, length: u64) -> Self {
        let entries = length / limits.bytes_per_entry.max(1);
        Self {
            max_bytes: limits.free_bytes.max(length.saturating_mul(limits.ratio)),
            max_entries: limits.free_entries.max(entries),
            bytes: 0,
            entries: 0,
        }
    }

    /// Admits an entry that has `stored` bytes of data.
    ///
    /// # Errors
    /// If the archive becomes too much with it.
    pub(super) fn admit(&mut self, entry: &Entry, stored: u64) -> Result<(), ContentError> {
        self.entries += 1;
        self.bytes = self
            .bytes
            .saturating_add(stored)
            .saturating_add(BLOCK as u64);
        let (what, limit) = if self.bytes > self.max_bytes {
            ("bytes", self.max_bytes)
        } else if self.entries > self.max_entries {
            ("entries", self.max_entries)
        } else {
            return Ok(());
        };
        let reason =
            format!("the archive unpacks to more than {limit} {what}, too much for its length");
        Err(ContentError::entry(&entry.path, reason))
    }

    /// Returns a reader of the archive that ends with an error beyond the limit, also where there are
    /// no entries: in headers that extend others.
    pub(super) fn bounded<R: Read>(&self, input: R) -> Bounded<R> {
        // Headers of extensions are not counted by entries.
        let left = self.max_bytes.saturating_mul(2);
        Bounded { input, left }
    }
}

/// A reader that refuses to give more than a number of bytes.
pub(super) struct Bounded<R> {
    input: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => {
                return Err(std::io::Error::other(
                    "too much for the length of the archive",
                ));
            }
        }
        Ok(count)
    }
}
