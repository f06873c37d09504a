//! What a set-group-id directory passes on to what is made in it: its group, and to directories the
//! bit too.
//!
//! The kernel does so for every program; that it is said here makes results the same where owners are
//! kept in attributes.

use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::WriteDir;

const SET_GID: u32 = 0o2000;

/// What a directory passes on.
pub(crate) struct Inherited {
    group: Option<u32>,
}

impl Inherited {
    /// Asks the directory in which something is made.
    pub(crate) fn from(dir: &WriteDir) -> Result<Self, SnapshotError> {
        let group = dir.inherited_group()?;
        Ok(Self { group })
    }

    /// Returns the owner of something new; the one that the action `given` wins.
    pub(crate) fn owner(&self, given: Option<(u32, u32)>) -> Option<(u32, u32)> {
        given.or(self.group.map(|group| (0, group)))
    }

    /// Returns the mode of a new directory that would have `mode`.
    pub(crate) fn directory_mode(&self, mode: u32) -> u32 {
        match self.group {
            Some(_) => mode | SET_GID,
            None => mode,
        }
    }
}
