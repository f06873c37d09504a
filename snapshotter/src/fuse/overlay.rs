//! The view that is served: what it is made of, and how its nodes are found.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use lamina_types::FileKind;
use rustix::io::Errno;
use rustix::io::Result;

use super::link_counts::LinkCounts;
use super::node::Name;
use super::node::Node;
use super::node::Place;
use super::numbers::Numbers;
use super::open::IoMode;
use super::open_dirs::OpenDirs;
use super::shown_ids::ShownIds;
use super::table::Arrival;
use super::table::Table;
use crate::LayerStack;
use crate::StoreFormat;
use crate::fdio;
use crate::fdio::RawStat;
use crate::tree::Found;
use crate::tree::Part;
use crate::tree::find;

/// An overlay in user space. All its methods may be called from many threads at once.
///
/// Locks are taken in this order: a file's `busy`, `topology`, a directory's `busy`, and last those
/// of the table and of single nodes, which are held for moments.
pub(super) struct Overlay {
    pub(super) format: StoreFormat,
    pub(super) shown_ids: ShownIds,
    pub(super) table: Table,
    pub(super) link_counts: LinkCounts,
    pub(super) open_dirs: OpenDirs,
    pub(super) io_mode: IoMode,
    writable: Option<Writable>,
    /// Written to by renames, read by everything else that changes names.
    topology: RwLock<()>,
}

/// Where changes go.
pub(super) struct Writable {
    /// For things that are not shown yet, on the upper's file system.
    pub(super) work: OwnedFd,
    /// Permissions that the process takes away from what it makes.
    pub(super) umask: u32,
    /// User and group that what it makes belongs to at first.
    pub(super) owner: (u32, u32),
    staged: AtomicU64,
}

/// The right to change names, while no rename does.
pub(super) struct Change<'a> {
    pub(super) writable: &'a Writable,
    _topology: RwLockReadGuard<'a, ()>,
}

/// The right to rename: nobody else changes names.
pub(super) struct Upheaval<'a> {
    pub(super) writable: &'a Writable,
    _topology: RwLockWriteGuard<'a, ()>,
}

impl Writable {
    pub(super) fn new(work: OwnedFd, umask: u32) -> Self {
        let user = rustix::process::geteuid().as_raw();
        let group = rustix::process::getegid().as_raw();
        Self {
            work,
            umask,
            owner: (user, group),
            staged: AtomicU64::new(0),
        }
    }

    /// Returns a name that is free in the work directory.
    pub(super) fn staged_name(&self) -> Vec<u8> {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        format!("new-{number}").into_bytes()
    }
}

impl Overlay {
    /// Serves the directories that merge at the root, topmost first, those of `lower` among them.
    pub(super) fn new(
        lower: &LayerStack,
        root: Arc<[Part]>,
        format: StoreFormat,
        writable: Option<Writable>,
    ) -> Self {
        Self {
            format,
            shown_ids: ShownIds::of_this_process(),
            table: Table::new(Numbers::new(lower.ids()), Place::Directory(root)),
            link_counts: LinkCounts::new(lower.clone()),
            open_dirs: OpenDirs::default(),
            io_mode: IoMode::default(),
            writable,
            topology: RwLock::default(),
        }
    }

    /// Returns where changes go; `EROFS` for a view.
    pub(super) fn writable(&self) -> Result<&Writable> {
        self.writable.as_ref().ok_or(Errno::ROFS)
    }

    /// Takes part in changing names.
    pub(super) fn change(&self) -> Result<Change<'_>> {
        let topology = self.topology.read();
        Ok(Change {
            writable: self.writable()?,
            _topology: topology.unwrap_or_else(PoisonError::into_inner),
        })
    }

    /// Waits until nobody changes names and keeps it so.
    pub(super) fn upheaval(&self) -> Result<Upheaval<'_>> {
        let topology = self.topology.write();
        Ok(Upheaval {
            writable: self.writable()?,
            _topology: topology.unwrap_or_else(PoisonError::into_inner),
        })
    }

    /// Finds `name` in `parent` and counts that the kernel is told of it; `None` if there is no such
    /// name.
    pub(super) fn lookup(
        &self,
        parent: &Arc<Node>,
        name: &[u8],
    ) -> Result<Option<(Arc<Node>, RawStat)>> {
        if !fdio::is_plain_name(name) {
            return Err(Errno::INVAL);
        }
        // No rename may copy up what is found before it is in the table.
        let topology = self.topology.read();
        let _topology = topology.unwrap_or_else(PoisonError::into_inner);
        let Some(found) = find(&self.parts(parent)?, name)? else {
            return Ok(None);
        };
        let (raw, arrival) = arrival(parent.ino, name, found)?;
        let layer = arrival.key.0;
        let node = self.adopt(arrival);
        // Copied up since: what was found is no longer what counts.
        let raw = match (node.place(), layer) {
            (Place::File(None), Some(_)) => self.stat(&node)?,
            _ => raw,
        };
        Ok(Some((node, raw)))
    }

    /// Returns the node for what was found, and counts that the kernel is told of it.
    pub(super) fn adopt(&self, arrival: Arrival) -> Arc<Node> {
        let is_dir = arrival.kind == FileKind::Directory;
        let node = self.table.adopt(arrival);
        if is_dir {
            self.open_dirs.note(&node);
        }
        node
    }

    /// Returns the directory that holds a file, which is no directory, and its name there.
    pub(super) fn holder(&self, node: &Node) -> Result<(Part, Vec<u8>)> {
        let (layer, names) = {
            let state = node.state();
            match state.place {
                Place::File(layer) => (layer, state.names.clone()),
                Place::Directory(_) | Place::Closed(_) => return Err(Errno::ISDIR),
                Place::Gone(_) => return Err(Errno::NOENT),
            }
        };
        for Name { parent, name } in names {
            let Ok(parts) = self
                .table
                .get(parent)
                .and_then(|parent| self.parts(&parent))
            else {
                continue;
            };
            if let Some(part) = parts.iter().find(|part| part.layer() == layer) {
                return Ok((part.clone(), name));
            }
        }
        Err(Errno::STALE)
    }

    /// Describes a node as it is now.
    pub(super) fn stat(&self, node: &Arc<Node>) -> Result<RawStat> {
        if let Some(fd) = node.open_fd() {
            return self.stat_fd(&fd);
        }
        match node.place() {
            Place::Gone(left) => Ok(left),
            Place::File(_) => {
                let (part, name) = self.holder(node)?;
                part.stat_at(&name)?.ok_or(Errno::STALE)
            }
            Place::Directory(_) | Place::Closed(_) => self.top(node)?.stat(),
        }
    }

    /// Describes what is open behind `fd` as the image does.
    pub(super) fn stat_fd(&self, fd: &OwnedFd) -> Result<RawStat> {
        self.format.owners.stat_fd(fd)
    }

    /// Returns the topmost of the directories that merge at `node`.
    pub(super) fn top(&self, node: &Arc<Node>) -> Result<Part> {
        self.parts(node)?.first().cloned().ok_or(Errno::NOENT)
    }

    /// Opens a node for changes of its metadata, without any access to its data.
    pub(super) fn path_fd(&self, node: &Arc<Node>) -> Result<Arc<OwnedFd>> {
        if let Some(fd) = node.open_fd() {
            return Ok(fd);
        }
        if node.kind == FileKind::Directory {
            return Ok(self.top(node)?.fd);
        }
        let (part, name) = self.holder(node)?;
        fdio::open_path(&part.fd, &name).map(Arc::new)
    }
}

/// Turns what [`find`] found into what the table takes, with its description.
pub(super) fn arrival(parent: u64, name: &[u8], found: Found) -> Result<(RawStat, Arrival)> {
    let (raw, layer, place) = match found {
        Found::Directory(parts) => {
            let top = parts.first().ok_or(Errno::IO)?;
            let (raw, layer) = (top.stat()?, top.layer());
            (raw, layer, Place::Directory(parts.into()))
        }
        Found::Other { part, raw } => (raw, part.layer(), Place::File(part.layer())),
    };
    let arrival = Arrival {
        key: (layer, raw.inode()),
        kind: raw.kind(),
        name: Name {
            parent,
            name: name.to_vec(),
        },
        place,
    };
    Ok((raw, arrival))
}
