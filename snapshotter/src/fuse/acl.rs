//! POSIX ACLs.
//!
//! The kernel checks them, by asking for the attributes in which they are kept. The file system below
//! keeps them and the modes in step, and gives what is made in a directory the default ACL of that. Left
//! to do here is what the kernel otherwise does before it asks:
//!
//! - the umask takes permissions away, but not where a default ACL says what a new file may have;
//! - who sets the ACL of a file whose group he is not in takes the set-group-id bit away from it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Result;

use super::caller::Caller;
use super::names::NewEntry;
use super::node::Node;
use super::overlay::Overlay;
use crate::MetadataChange;
use crate::Owners;
use crate::xattrs::Target;

/// What a file allows.
const ACCESS: &[u8] = b"system.posix_acl_access";

/// What a directory gives to what is made in it.
const DEFAULT: &[u8] = b"system.posix_acl_default";

/// Set-group-id.
const SET_GROUP_ID: u32 = 0o2000;

impl Overlay {
    /// Says whether what is made in the directory gets an ACL from it; `above` is its part of the upper.
    ///
    /// Asked once per directory. Where owners are stored there are no ACLs.
    pub(super) fn passes_acl_on(&self, dir: &Node, above: &OwnedFd) -> Result<bool> {
        if self.format.owners == Owners::Stored {
            return Ok(false);
        }
        // Locked throughout, so that no change gets lost in between.
        let mut state = dir.state();
        if let Some(known) = state.passes_acl_on {
            return Ok(known);
        }
        let passes = Target::opened(above).get(DEFAULT)?.is_some();
        state.passes_acl_on = Some(passes);
        Ok(passes)
    }

    /// Does what follows from a new value of the attribute `name`.
    pub(super) fn acl_was_set(&self, node: &Arc<Node>, name: &[u8], caller: Caller) -> Result<()> {
        node.acl_was_changed(name);
        if name != ACCESS || self.format.owners == Owners::Stored {
            return Ok(());
        }
        let fd = self.path_fd(node)?;
        let raw = self.stat_fd(&fd)?;
        let mode = raw.permissions();
        if mode & SET_GROUP_ID == 0 || caller.is_in_group(raw.owner().1) {
            return Ok(());
        }
        let change = MetadataChange {
            mode: Some(mode & !SET_GROUP_ID),
            ..MetadataChange::default()
        };
        self.format.owners.change(&fd, node.kind, &change)
    }
}

impl Node {
    /// Notes that the attribute `name` has another value, or none any more.
    pub(super) fn acl_was_changed(&self, name: &[u8]) {
        if name == DEFAULT {
            self.state().passes_acl_on = None;
        }
    }
}

impl NewEntry {
    /// Returns the mode of what is made in a directory that passes no ACL on.
    pub(super) fn masked_mode(&self) -> u32 {
        self.mode & !self.umask
    }
}
