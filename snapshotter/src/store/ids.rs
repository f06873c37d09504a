//! Ids that are never used twice, not even after a restart.
//!
//! Records elsewhere name layers by id, so the id of a deleted layer must not come back. Ids are
//! reserved in blocks: one durable write for many layers, and none for a process that makes no layer.

use lamina_types::LayerId;

use super::StorePlace;
use super::files;
use crate::SnapshotError;

/// Large enough to make the write rare, small enough to keep ids short.
const BLOCK: u64 = 256;

/// File that holds the first id that was never handed out.
pub(super) const FILE: &str = "next";

pub(super) struct Ids {
    next: u64,
    /// Ids below this are reserved by us; 0 as long as nothing was reserved.
    limit: u64,
}

impl Ids {
    /// Starts above `highest`, the largest id that is seen or named on disk.
    pub(super) fn new(highest: u64) -> Self {
        Self {
            next: highest + 1,
            limit: 0,
        }
    }

    pub(super) fn take(&mut self, place: &StorePlace) -> Result<LayerId, SnapshotError> {
        if self.next >= self.limit {
            self.reserve(place)?;
        }
        let id = LayerId(self.next);
        self.next += 1;
        Ok(id)
    }

    /// Returns an id above all that were handed out.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    fn reserve(&mut self, place: &StorePlace) -> Result<(), SnapshotError> {
        self.next = self.next.max(read(place)?);
        let limit = self.next + BLOCK;
        files::replace_durably(&place.dir, FILE, format!("{limit:x}\n").as_bytes())?;
        // The new name has to last as well: a record on disk may outlive the layer that it names.
        files::sync_dir(&place.dir)?;
        self.limit = limit;
        Ok(())
    }
}

/// Reads the file; 0 if it does not exist or makes no sense (ids on disk still count).
fn read(place: &StorePlace) -> Result<u64, SnapshotError> {
    match files::read(&place.dir, FILE.as_bytes()) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            Ok(u64::from_str_radix(text.trim(), 16).unwrap_or(0))
        }
        Err(error) if error.is_not_found() => Ok(0),
        Err(error) => Err(error),
    }
}
