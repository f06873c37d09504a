//! Copying up: bringing into the upper what only a sealed layer has.
//!
//! Everything is made in the work directory and moved into place complete, so nobody sees half of it.
//! The number of the original is given to the copy before that, so nobody takes it for another file.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::io::Errno;
use rustix::io::Result;

use super::caller::Caller;
use super::node::Name;
use super::node::Node;
use super::node::Place;
use super::node::upper_of;
use super::numbers::Key;
use super::overlay::Overlay;
use super::overlay::Writable;
use crate::fdio;
use crate::fdio::RawStat;
use crate::metadata;
use crate::remove;
use crate::tree::Part;
use crate::upper::At;
use crate::upper::CopyRules;
use crate::upper::copy_dir;
use crate::upper::copy_entry;

/// Says what is wanted of a file that is copied up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// All of it.
    Kept,
    /// Nothing: it is about to be truncated.
    Dropped,
}

impl Overlay {
    /// Makes sure that `node` is in the upper.
    ///
    /// A file that has several names in its layer keeps those together that the kernel knows; the others
    /// go on naming the original, as with the kernel's overlay they all would, which is another file then.
    pub(super) fn copy_up(&self, node: &Arc<Node>, data: Data, caller: Caller) -> Result<()> {
        self.writable()?;
        match node.place() {
            Place::Directory(_) | Place::Closed(_) => {
                let change = self.change()?;
                return self.ensure_upper(node, change.writable).map(drop);
            }
            Place::File(None) => return Ok(()),
            Place::File(Some(_)) => {}
            // An open file of the upper lives on without a name.
            Place::Gone(_) if node.is_open_in_upper() => return Ok(()),
            Place::Gone(_) => return Err(Errno::STALE),
        }
        let _busy = node.lock_busy();
        if !node.is_in_lower() {
            return Ok(());
        }
        let (part, name) = self.holder(node)?;
        let from = At {
            dir: &part.fd,
            name: &name,
        };
        let raw = part.stat_at(&name)?.ok_or(Errno::STALE)?;
        let shared = (raw.nlink() > 1).then(|| (part.layer(), raw.inode()));
        let staged = self.stage(from, &raw, data, caller)?;
        self.show_copy(node, &staged, shared)
    }

    /// Copies a file of a sealed layer, which is as `raw` says, into the work directory; returns its name
    /// there.
    pub(super) fn stage(
        &self,
        from: At<'_>,
        raw: &RawStat,
        data: Data,
        caller: Caller,
    ) -> Result<Vec<u8>> {
        let writable = self.writable()?;
        let staged = writable.staged_name();
        let to = At {
            dir: &writable.work,
            name: &staged,
        };
        let rules = CopyRules {
            format: self.format,
            data: data == Data::Kept,
            go_on: &|| caller.still_waits(),
        };
        match copy_entry(from, raw, to, &rules) {
            Ok(()) => Ok(staged),
            Err(error) => {
                writable.discard(&staged);
                Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }
        }
    }

    /// Puts a copy in the place of the original, under all names that are known.
    fn show_copy(&self, node: &Arc<Node>, staged: &[u8], shared: Option<Key>) -> Result<()> {
        let change = self.change()?;
        let writable = change.writable;
        let shown = self.link_copy(node, staged, shared, writable);
        writable.discard(staged);
        match shown? {
            0 => Err(Errno::NOENT),
            _ => self.reopen(node),
        }
    }

    /// Links the copy to every name that the node has, also those that the kernel asks for meanwhile;
    /// returns how many there were. Further names may go on naming the original if that is `shared`.
    pub(super) fn link_copy(
        &self,
        node: &Arc<Node>,
        staged: &[u8],
        shared: Option<Key>,
        writable: &Writable,
    ) -> Result<usize> {
        let copy = fdio::stat_at(&writable.work, staged)?.ok_or(Errno::IO)?;
        self.table.numbers.alias(copy.inode(), node.ino);
        let (mut seen, mut shown) = (Vec::new(), 0);
        loop {
            let name = {
                let mut state = node.state();
                let mut names = state.names.iter();
                let Some(name) = names.find(|name| !seen.contains(*name)).cloned() else {
                    if shown > 0 {
                        state.place = Place::File(None);
                        self.renumber_original(shared);
                    }
                    return Ok(shown);
                };
                name
            };
            shown += usize::from(self.link_to(node, staged, &name, writable)?);
            seen.push(name);
        }
    }

    /// Links the copy to one name of the node, if it still has it.
    fn link_to(
        &self,
        node: &Node,
        staged: &[u8],
        name: &Name,
        writable: &Writable,
    ) -> Result<bool> {
        let Ok(parent) = self.table.get(name.parent) else {
            return Ok(false);
        };
        let above = self.ensure_upper(&parent, writable)?;
        let _busy = parent.lock_busy();
        if !node.state().names.contains(name) {
            return Ok(false);
        }
        keeping_mtime(&above, || {
            let flags = AtFlags::empty();
            rustix::fs::linkat(&writable.work, staged, &above, &name.name, flags)
        })?;
        Ok(true)
    }

    /// Gives the original of a copy, which has the number now, another one.
    pub(super) fn renumber_original(&self, shared: Option<Key>) {
        if let Some(key) = shared {
            self.table.numbers.renumber(key);
        }
    }

    /// Returns the directory in the upper, copying it and those above it up if they are not there.
    pub(super) fn ensure_upper(
        &self,
        dir: &Arc<Node>,
        writable: &Writable,
    ) -> Result<Arc<OwnedFd>> {
        let mut missing = Vec::new();
        let mut at = Arc::clone(dir);
        let mut above = loop {
            if let Some(fd) = upper_of(&self.parts(&at)?) {
                break fd;
            }
            let name = at.any_name()?;
            let parent = self.table.get(name.parent)?;
            missing.push((at, Arc::clone(&parent), name));
            at = parent;
        };
        while let Some((node, parent, name)) = missing.pop() {
            let _busy = parent.lock_busy();
            above = match upper_of(&self.parts(&node)?) {
                Some(fd) => fd,
                None => self.copy_dir_up(&node, &name, &above, writable)?,
            };
        }
        Ok(above)
    }

    fn copy_dir_up(
        &self,
        node: &Arc<Node>,
        name: &Name,
        above: &OwnedFd,
        writable: &Writable,
    ) -> Result<Arc<OwnedFd>> {
        let fd = self.copy_dir_into(&self.top(node)?, above, &name.name, writable)?;
        node.add_upper(Part::upper(Arc::clone(&fd), self.format));
        Ok(fd)
    }

    /// Makes an empty copy of the directory `top` under `name` of `above`.
    pub(super) fn copy_dir_into(
        &self,
        top: &Part,
        above: &OwnedFd,
        name: &[u8],
        writable: &Writable,
    ) -> Result<Arc<OwnedFd>> {
        let staged = writable.staged_name();
        let to = At {
            dir: &writable.work,
            name: &staged,
        };
        let made = || -> Result<Arc<OwnedFd>> {
            let fd = copy_dir(&top.fd, to, self.format)?;
            let (original, copy) = (fdio::stat_fd(&top.fd)?, fdio::stat_fd(&fd)?);
            let numbers = &self.table.numbers;
            numbers.alias(copy.inode(), numbers.of((top.layer(), original.inode())));
            keeping_mtime(above, || {
                rustix::fs::renameat(&writable.work, &staged, above, name)
            })?;
            Ok(Arc::new(fd))
        };
        made().inspect_err(|_| writable.discard(&staged))
    }
}

impl Writable {
    /// Removes what was made in the work directory, if it is still there.
    pub(super) fn discard(&self, staged: &[u8]) {
        if let Err(error) = remove::remove_tree(&self.work, staged) {
            tracing::warn!(%error, "cannot remove what a step does not need");
        }
    }
}

/// Makes a change that the time of what is behind `fd` must not tell of.
pub(super) fn keeping_mtime<T>(fd: &OwnedFd, change: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = fdio::stat_fd(fd)?;
    let changed = change()?;
    metadata::set_mtime(&fd, before.mtime_ns())?;
    Ok(changed)
}
