//! Extended attributes of nodes.
//!
//! Those of this overlay are never shown. Those that an overlay *inside* a step sets have the same
//! names; they are kept under escaped names, as the kernel's overlay does it.

use std::sync::Arc;

use lamina_types::FileKind;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::io::Result;

use super::caller::Caller;
use super::copy_up::Data;
use super::node::Node;
use super::overlay::Overlay;
use crate::Owners;
use crate::xattrs::Target;

/// What a program may do beyond its user.
const CAPABILITY: &[u8] = b"security.capability";

impl Overlay {
    /// Returns the value of an attribute; `ENODATA` if there is none.
    pub(super) fn get_xattr(&self, node: &Arc<Node>, name: &[u8]) -> Result<Vec<u8>> {
        // The kernel asks for this at the first write to a file and at every change of its owner.
        if node.is_plain() && name == CAPABILITY {
            return Err(Errno::NODATA);
        }
        let kept = self.kept_name(name);
        let value = self.with_target(node, |target| target.get(&kept))?;
        value.ok_or(Errno::NODATA)
    }

    /// Returns the names of all attributes, each ended by a NUL.
    pub(super) fn list_xattrs(&self, node: &Arc<Node>) -> Result<Vec<u8>> {
        let names = self.with_target(node, Target::list)?;
        let shown = names.iter().filter_map(|name| self.shown_name(name));
        let mut packed = Vec::new();
        for name in shown {
            packed.extend_from_slice(&name);
            packed.push(0);
        }
        Ok(packed)
    }

    /// Returns the name under which what a step calls `name` is kept.
    fn kept_name(&self, name: &[u8]) -> Vec<u8> {
        self.format
            .owners
            .kept_name(&self.format.xattrs.escape(name))
    }

    /// Returns what a step calls the attribute `kept`; `None` if it is told nothing of it.
    fn shown_name(&self, kept: &[u8]) -> Option<Vec<u8>> {
        let name = self.format.xattrs.unescape(kept)?;
        let name = self.format.owners.shown_name(&name)?;
        // Of the others the kernel would not even ask for the value: who has stored owners has none of
        // the rights that they need.
        let listed = self.format.owners == Owners::Real
            || name.starts_with(b"user.")
            || name.starts_with(b"security.");
        listed.then_some(name)
    }

    /// Sets an attribute.
    pub(super) fn set_xattr(
        &self,
        node: &Arc<Node>,
        (name, value): (&[u8], &[u8]),
        flags: XattrFlags,
        caller: Caller,
    ) -> Result<()> {
        self.copy_up(node, Data::Kept, caller)?;
        node.note_attributes();
        let kept = self.kept_name(name);
        self.with_target(node, |target| target.set_with(&kept, value, flags))?;
        self.acl_was_set(node, name, caller)
    }

    /// Removes an attribute; `ENODATA` if there is none, without copying anything up.
    pub(super) fn remove_xattr(&self, node: &Arc<Node>, name: &[u8], caller: Caller) -> Result<()> {
        self.get_xattr(node, name)?;
        self.copy_up(node, Data::Kept, caller)?;
        let kept = self.kept_name(name);
        self.with_target(node, |target| target.remove_existing(&kept))?;
        node.acl_was_changed(name);
        Ok(())
    }

    fn with_target<T>(
        &self,
        node: &Arc<Node>,
        work: impl FnOnce(&Target) -> Result<T>,
    ) -> Result<T> {
        if let Some(fd) = node.open_fd() {
            return work(&Target::opened(&fd));
        }
        if node.kind == FileKind::Directory {
            return work(&Target::opened(&self.top(node)?.fd));
        }
        let (part, name) = self.holder(node)?;
        work(&Target::name(&part.fd, &name))
    }
}
