//! What cache directories take, and removing them (rows CTL-09, CTL-13).

use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use super::CacheMounts;

/// When and how often something was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uses {
    /// When it was made.
    pub created: SystemTime,
    /// When its last user was done.
    pub last: Option<SystemTime>,
    /// How many users were done.
    pub count: u64,
}

/// One cache directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMountUsage {
    /// Names it as long as it is there, and never another one of this engine.
    pub number: u64,
    /// The id that steps ask for.
    pub id: String,
    /// A step uses it now.
    pub in_use: bool,
    /// Bytes on disk, if nobody used it since they were counted.
    pub bytes: Option<u64>,
    /// When and how often it was used.
    pub uses: Uses,
}

impl Uses {
    pub(super) fn new(created: SystemTime) -> Self {
        Self {
            created,
            last: None,
            count: 0,
        }
    }

    pub(super) fn note(&mut self, now: SystemTime) {
        self.last = Some(now);
        self.count = self.count.saturating_add(1);
    }
}

impl CacheMounts {
    /// Describes all cache directories. Blocks: those that were used since the last call are walked,
    /// since steps write to them in place; those in use count as 0 bytes.
    #[must_use]
    pub fn usage(&self) -> Vec<CacheMountUsage> {
        let mut usage = self.0.pool().usage();
        for mount in &mut usage {
            if mount.in_use {
                mount.bytes = Some(0);
            } else if mount.bytes.is_none() {
                let bytes = self.0.disk.size_bytes(mount.number);
                self.0.pool().set_size(mount.number, bytes, &mount.uses);
                mount.bytes = Some(bytes);
            }
        }
        usage
    }

    /// Removes a directory that no step uses; the next step with its id gets an empty one. Says
    /// whether it did. Blocks.
    #[must_use]
    pub fn remove(&self, number: u64) -> bool {
        let removed = self.0.pool().forget(number);
        if removed {
            self.0.disk.remove(number);
        }
        removed
    }
}
