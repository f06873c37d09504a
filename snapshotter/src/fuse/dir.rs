//! Listing directories.
//!
//! A listing is taken when reading starts and kept for the handle, so positions in it stay valid
//! whatever changes meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use fuser::FileAttr;
use fuser::FileType;
use fuser::INodeNo;
use rustix::io::Errno;
use rustix::io::Result;

use super::attr::no_file;
use super::node::Node;
use super::numbers::ROOT;
use super::overlay::Overlay;
use crate::tree::Part;
use crate::tree::Shown;
use crate::tree::read_merged_kinds;

/// Listings of open directories, by handle.
#[derive(Default)]
pub(super) struct Listings(Mutex<Handles>);

#[derive(Default)]
struct Handles {
    next: u64,
    open: HashMap<u64, Option<Arc<[Listed]>>>,
}

/// One line of a listing.
pub(super) struct Listed {
    pub(super) ino: u64,
    pub(super) kind: FileType,
    pub(super) name: Vec<u8>,
}

impl Listings {
    fn lock(&self) -> MutexGuard<'_, Handles> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a handle.
    pub(super) fn open(&self) -> u64 {
        let mut handles = self.lock();
        handles.next += 1;
        let handle = handles.next;
        handles.open.insert(handle, None);
        handle
    }

    /// Closes a handle.
    pub(super) fn close(&self, handle: u64) {
        let closed = self.lock().open.remove(&handle);
        drop(closed);
    }
}

impl Overlay {
    /// Returns the listing of an open directory, taking it anew when it is read from the start.
    pub(super) fn listing(
        &self,
        node: &Arc<Node>,
        handle: u64,
        offset: u64,
    ) -> Result<Arc<[Listed]>> {
        if offset > 0
            && let Some(Some(kept)) = self.listings.lock().open.get(&handle)
        {
            return Ok(Arc::clone(kept));
        }
        let taken: Arc<[Listed]> = self.list(node)?.into();
        if let Some(kept) = self.listings.lock().open.get_mut(&handle) {
            *kept = Some(Arc::clone(&taken));
        }
        Ok(taken)
    }

    fn list(&self, node: &Arc<Node>) -> Result<Vec<Listed>> {
        let parts = match self.parts(node) {
            Ok(parts) => parts,
            // Removed while it is open: empty.
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let shown = read_merged_kinds(&parts)?;
        let dots = [(node.ino, b".".as_slice()), (self.parent_of(node), b"..")];
        let dots = dots.into_iter().map(|(ino, name)| Listed {
            ino,
            kind: FileType::Directory,
            name: name.to_vec(),
        });
        let listed = shown.into_iter().map(|shown| self.listed(&parts, shown));
        Ok(dots.chain(listed).collect())
    }

    /// Tells the kernel of one line of a listing by `tell`, which says whether it had no room for it.
    /// Returns that; a name that is gone by now is left out.
    pub(super) fn describe_listed(
        &self,
        dir: &Arc<Node>,
        listed: &Listed,
        tell: impl FnOnce(&FileAttr) -> bool,
    ) -> Result<bool> {
        if matches!(listed.name.as_slice(), b"." | b"..") {
            // The kernel takes no more than the number and the kind from these.
            return Ok(tell(&FileAttr {
                ino: INodeNo(listed.ino),
                kind: listed.kind,
                ..no_file()
            }));
        }
        let Some((node, raw)) = self.lookup(dir, &listed.name)? else {
            return Ok(false);
        };
        let full = tell(&self.attributes(&node, &raw));
        if full {
            self.table.forget(node.ino, 1);
        }
        Ok(full)
    }

    fn parent_of(&self, node: &Node) -> u64 {
        node.any_name().map_or(ROOT, |name| name.parent)
    }

    fn listed(&self, parts: &[Part], shown: Shown) -> Listed {
        let layer = parts.get(shown.part).and_then(Part::layer);
        Listed {
            ino: self.table.numbers.of((layer, shown.inode)),
            kind: kind_of(shown.hint),
            name: shown.name,
        }
    }
}

/// Turns what `getdents` says into what the kernel is told.
fn kind_of(hint: rustix::fs::FileType) -> FileType {
    match hint {
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::Fifo => FileType::NamedPipe,
        rustix::fs::FileType::Socket => FileType::Socket,
        rustix::fs::FileType::CharacterDevice => FileType::CharDevice,
        rustix::fs::FileType::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}
