//! Copying up whole trees, for renames of directories.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::io::Errno;
use rustix::io::Result;

use super::caller::Caller;
use super::copy_up::Data;
use super::copy_up::keeping_mtime;
use super::node::Node;
use super::node::lower_of;
use super::node::upper_of;
use super::numbers::Key;
use super::overlay::Overlay;
use super::overlay::Writable;
use crate::fdio;
use crate::fdio::RawStat;
use crate::tree::Found;
use crate::tree::Part;
use crate::tree::find;
use crate::tree::read_merged_kinds;
use crate::upper::At;

/// A copy under way.
struct TreeCopy<'a> {
    overlay: &'a Overlay,
    writable: &'a Writable,
    caller: Caller,
    /// Where files with several names were put first.
    linked: HashMap<Key, (Arc<OwnedFd>, Vec<u8>)>,
    todo: Vec<Pending>,
    /// Directories of the tree that the kernel holds.
    known: Vec<Arc<Node>>,
}

/// A directory that is in the upper and below which there is more to copy; opened late, since there may
/// be very many.
struct Pending {
    above: Arc<OwnedFd>,
    name: Vec<u8>,
    /// The sealed directories that merge in the one above.
    lower_above: Arc<[Part]>,
}

/// A directory in the upper, and those of sealed layers that merge with it.
struct Merged {
    upper: Arc<OwnedFd>,
    lower: Arc<[Part]>,
}

impl Overlay {
    /// Copies up everything below the directory `node`, which is in the upper itself, and makes it
    /// independent of what lies below. The view does not change, also not if this fails midway.
    ///
    /// Nobody else may change names meanwhile.
    pub(super) fn copy_tree_up(
        &self,
        node: &Arc<Node>,
        writable: &Writable,
        caller: Caller,
    ) -> Result<()> {
        let parts = self.parts(node)?;
        let upper = upper_of(&parts).ok_or(Errno::IO)?;
        let mut copy = TreeCopy {
            overlay: self,
            writable,
            caller,
            linked: HashMap::new(),
            todo: Vec::new(),
            known: vec![Arc::clone(node)],
        };
        copy.fill(&Merged {
            upper: Arc::clone(&upper),
            lower: lower_of(&parts).into(),
        })?;
        while let Some(pending) = copy.todo.pop() {
            caller.still_waits()?;
            if let Some(merged) = pending.open()? {
                copy.fill(&merged)?;
            }
        }
        // The mark hides all that lies below, also below the directories in it.
        self.make_opaque(&upper)?;
        copy.known.iter().for_each(|node| node.cut_lower());
        Ok(())
    }
}

impl Pending {
    /// Opens the directory; `None` if nothing merges with it.
    fn open(self) -> Result<Option<Merged>> {
        let upper = fdio::open_dir(&self.above, &self.name)?;
        Ok(match find(&self.lower_above, &self.name)? {
            Some(Found::Directory(lower)) => Some(Merged {
                upper: Arc::new(upper),
                lower: lower.into(),
            }),
            _ => None,
        })
    }
}

impl TreeCopy<'_> {
    /// Copies up what one directory shows and the upper does not have.
    fn fill(&mut self, merged: &Merged) -> Result<()> {
        let upper = Part::upper(Arc::clone(&merged.upper), self.overlay.format);
        let parts: Vec<Part> = [upper]
            .into_iter()
            .chain(merged.lower.iter().cloned())
            .collect();
        keeping_mtime(&merged.upper, || {
            for shown in read_merged_kinds(&parts)? {
                if shown.part > 0 {
                    self.copy(merged, &shown.name)?;
                } else if shown.is_dir {
                    self.note_known((None, shown.inode));
                    if !self.is_opaque(merged, &shown.name)? {
                        self.postpone(merged, shown.name);
                    }
                }
            }
            Ok(())
        })
    }

    fn is_opaque(&self, merged: &Merged, name: &[u8]) -> Result<bool> {
        let child = fdio::open_dir(&merged.upper, name)?;
        crate::tree::is_opaque(&child, self.overlay.format.xattrs)
    }

    /// Remembers a directory of the tree that the kernel holds.
    fn note_known(&mut self, key: Key) -> Option<Arc<Node>> {
        let node = self.overlay.table.known(key)?;
        self.known.push(Arc::clone(&node));
        Some(node)
    }

    fn postpone(&mut self, merged: &Merged, name: Vec<u8>) {
        self.todo.push(Pending {
            above: Arc::clone(&merged.upper),
            name,
            lower_above: Arc::clone(&merged.lower),
        });
    }

    /// Copies one name up that only sealed layers have.
    fn copy(&mut self, merged: &Merged, name: &[u8]) -> Result<()> {
        match find(&merged.lower, name)?.ok_or(Errno::STALE)? {
            Found::Directory(parts) => {
                let top = parts.first().ok_or(Errno::IO)?;
                self.copy_dir(merged, name, top)?;
                self.postpone(merged, name.to_vec());
                Ok(())
            }
            Found::Other { part, raw } => self.copy_file(merged, name, &part, &raw),
        }
    }

    fn copy_dir(&mut self, merged: &Merged, name: &[u8], top: &Part) -> Result<()> {
        let key = (top.layer(), fdio::stat_fd(&top.fd)?.inode());
        let overlay = self.overlay;
        let fd = overlay.copy_dir_into(top, &merged.upper, name, self.writable)?;
        if let Some(node) = self.note_known(key) {
            node.add_upper(Part::upper(fd, overlay.format));
        }
        Ok(())
    }

    fn copy_file(
        &mut self,
        merged: &Merged,
        name: &[u8],
        part: &Part,
        raw: &RawStat,
    ) -> Result<()> {
        let key = (part.layer(), raw.inode());
        if let Some((dir, first)) = self.linked.get(&key) {
            let linked = rustix::fs::linkat(dir, first, &merged.upper, name, AtFlags::empty());
            return existing_is_fine(linked);
        }
        let from = At {
            dir: &part.fd,
            name,
        };
        let staged = self.overlay.stage(from, raw, Data::Kept, self.caller)?;
        let to = At {
            dir: &merged.upper,
            name,
        };
        let shared = raw.nlink() > 1;
        let shown = self.show(key, shared, &staged, to);
        self.writable.discard(&staged);
        shown?;
        if shared {
            let place = (Arc::clone(&merged.upper), name.to_vec());
            self.linked.insert(key, place);
        }
        Ok(())
    }

    /// Gives a copy its name, and all other names under which the kernel knows the original. If that is
    /// `shared`, it has further names, which may stay.
    fn show(&self, key: Key, shared: bool, staged: &[u8], to: At<'_>) -> Result<()> {
        let (overlay, work) = (self.overlay, &self.writable.work);
        let shared = shared.then_some(key);
        let node = overlay.table.known(key);
        match &node {
            Some(node) => drop(overlay.link_copy(node, staged, shared, self.writable)?),
            None => {
                let copy = fdio::stat_at(work, staged)?.ok_or(Errno::IO)?;
                let numbers = &overlay.table.numbers;
                numbers.alias(copy.inode(), numbers.of(key));
                overlay.renumber_original(shared);
            }
        }
        let linked = rustix::fs::linkat(work, staged, to.dir, to.name, AtFlags::empty());
        existing_is_fine(linked)?;
        node.map_or(Ok(()), |node| overlay.reopen(&node))
    }
}

/// A name may have been made together with another one of the same file.
fn existing_is_fine(made: Result<()>) -> Result<()> {
    match made {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}
