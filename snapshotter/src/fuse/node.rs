//! What the kernel knows by number: one file or directory of the view.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use lamina_types::FileKind;
use lamina_types::LayerId;
use rustix::io::Errno;
use rustix::io::Result;

use super::dir::Listing;
use super::numbers::ROOT;
use super::open::OpenFile;
use crate::fdio::RawStat;
use crate::tree::Part;

/// A file or directory that the kernel holds, or did a moment ago.
///
/// Its number never changes, although the place where it is kept does: once, from a sealed layer to
/// the upper.
pub(super) struct Node {
    pub(super) ino: u64,
    pub(super) kind: FileKind,
    /// Held while the upper's part of this directory changes, or while this file is copied up or its
    /// data or times change.
    busy: Mutex<()>,
    /// This directory was used since it was opened.
    used: AtomicBool,
    /// The file was made here and nobody has set an attribute since.
    plain: AtomicBool,
    /// The data of this file has not changed since the kernel said when it was modified.
    time_told: AtomicBool,
    state: Mutex<State>,
}

/// One name of a node: the number of the directory and the name there.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) parent: u64,
    pub(super) name: Vec<u8>,
}

/// Where a node is kept.
#[derive(Clone)]
pub(super) enum Place {
    /// The directories that merge, topmost first.
    Directory(Arc<[Part]>),
    /// The layers (`None` for the upper) that have the directory, topmost first; not open at the moment.
    Closed(Arc<[Option<LayerId>]>),
    /// The layer that has the file; `None` for the upper.
    File(Option<LayerId>),
    /// Every name that was known is gone; what it was then.
    Gone(RawStat),
}

/// What changes of a node.
pub(super) struct State {
    /// Those names that the kernel asked for.
    pub(super) names: Vec<Name>,
    pub(super) place: Place,
    pub(super) open: Option<OpenFile>,
    /// The listing that is being read.
    pub(super) listing: Option<Arc<Listing>>,
    /// Whether this directory has a default ACL; `None` while nobody has looked.
    pub(super) passes_acl_on: Option<bool>,
}

impl Node {
    pub(super) fn new(ino: u64, kind: FileKind, names: Vec<Name>, place: Place) -> Self {
        let state = State {
            names,
            place,
            open: None,
            listing: None,
            passes_acl_on: None,
        };
        Self {
            ino,
            kind,
            busy: Mutex::default(),
            used: AtomicBool::new(false),
            plain: AtomicBool::new(false),
            time_told: AtomicBool::new(true),
            state: Mutex::new(state),
        }
    }

    /// Locks what changes; nothing else may be locked while it is held.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps others from changing the upper's part of this directory, or from copying this file up or
    /// changing its data or times.
    pub(super) fn lock_busy(&self) -> MutexGuard<'_, ()> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn place(&self) -> Place {
        self.state().place.clone()
    }

    /// Returns a name of the node; `ENOENT` if it has none any more.
    pub(super) fn any_name(&self) -> Result<Name> {
        self.state().names.first().cloned().ok_or(Errno::NOENT)
    }

    /// Returns the directories that merge here, topmost first, if they are open.
    pub(super) fn open_parts(&self) -> Result<Option<Arc<[Part]>>> {
        match &self.state().place {
            Place::Directory(parts) => {
                self.used.store(true, Ordering::Relaxed);
                Ok(Some(Arc::clone(parts)))
            }
            Place::Closed(_) => Ok(None),
            Place::File(_) => Err(Errno::NOTDIR),
            Place::Gone(_) => Err(Errno::NOENT),
        }
    }

    /// Says whether the directory was used since this was asked.
    pub(super) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Notes that the file was just made.
    pub(super) fn note_plain(&self) {
        self.plain.store(true, Ordering::Release);
    }

    /// Notes that somebody sets an extended attribute.
    pub(super) fn note_attributes(&self) {
        self.plain.store(false, Ordering::Release);
    }

    /// Says whether the file has no extended attributes but those that the host gave it.
    pub(super) fn is_plain(&self) -> bool {
        self.plain.load(Ordering::Acquire)
    }

    /// Notes that the kernel says when the file was modified, or that its data changes. The node must be
    /// busy.
    pub(super) fn note_time_told(&self, told: bool) {
        self.time_told.store(told, Ordering::Relaxed);
    }

    /// Says whether the file has the time that the kernel knows, as far as can be known here.
    pub(super) fn is_time_told(&self) -> bool {
        self.time_told.load(Ordering::Relaxed)
    }

    /// Returns how many descriptors the directory keeps open.
    pub(super) fn descriptors(&self) -> usize {
        match &self.state().place {
            Place::Directory(parts) => parts.len(),
            _ => 0,
        }
    }

    /// Closes the directory; the root, which cannot be found by a name, stays open.
    pub(super) fn close_dir(&self) {
        let mut state = self.state();
        if let Place::Directory(parts) = &state.place
            && self.ino != ROOT
        {
            let layers = parts.iter().map(Part::layer).collect();
            let closed = std::mem::replace(&mut state.place, Place::Closed(layers));
            drop(state);
            drop(closed);
        }
    }

    /// Takes `parts` for a directory that was closed with these `layers`; returns what is open now.
    pub(super) fn reopen_dir(
        &self,
        layers: &[Option<LayerId>],
        parts: Arc<[Part]>,
    ) -> Result<Arc<[Part]>> {
        let mut state = self.state();
        match &state.place {
            Place::Directory(parts) => return Ok(Arc::clone(parts)),
            Place::Closed(now) if **now == *layers => {}
            // Copied up this very moment; whoever did that has it open.
            Place::Closed(_) => return Ok(parts),
            Place::File(_) | Place::Gone(_) => return Err(Errno::NOENT),
        }
        state.place = Place::Directory(Arc::clone(&parts));
        Ok(parts)
    }

    /// Notes that the directory is in the upper now.
    pub(super) fn add_upper(&self, upper: Part) {
        let mut state = self.state();
        match &state.place {
            Place::Directory(parts) if upper_of(parts).is_none() => {
                let merged = [upper].into_iter().chain(parts.iter().cloned());
                state.place = Place::Directory(merged.collect());
            }
            Place::Closed(layers) if layers.first() != Some(&None) => {
                let merged = [None].into_iter().chain(layers.iter().copied());
                state.place = Place::Closed(merged.collect());
            }
            _ => {}
        }
    }

    /// Notes that only the upper's part of the directory counts from now on.
    pub(super) fn cut_lower(&self) {
        let mut state = self.state();
        match &state.place {
            Place::Directory(parts) => {
                let upper = parts.iter().filter(|part| part.layer().is_none());
                state.place = Place::Directory(upper.cloned().collect());
            }
            Place::Closed(_) => state.place = Place::Closed(Arc::new([None])),
            _ => {}
        }
    }

    /// Returns the descriptor through which the file is read and written while it is open.
    pub(super) fn open_fd(&self) -> Option<Arc<OwnedFd>> {
        let state = self.state();
        state.open.as_ref().map(|open| Arc::clone(&open.fd))
    }

    /// Forgets one name; `left` is what remains of the file, for those who hold it without a name.
    pub(super) fn remove_name(&self, name: &Name, left: RawStat) {
        let mut state = self.state();
        state.names.retain(|known| known != name);
        if state.names.is_empty() {
            state.place = Place::Gone(left);
        }
    }

    pub(super) fn replace_name(&self, old: &Name, new: Name) {
        let mut state = self.state();
        state.names.retain(|known| *known != *old && *known != new);
        state.names.push(new);
    }

    /// Says whether the file is (only) in a sealed layer.
    pub(super) fn is_in_lower(&self) -> bool {
        matches!(self.state().place, Place::File(Some(_)))
    }

    /// Says whether an open file lives on in the upper, whatever became of its names.
    pub(super) fn is_open_in_upper(&self) -> bool {
        let state = self.state();
        state.open.as_ref().is_some_and(|open| !open.sealed)
    }
}

/// Returns the topmost of merged directories if it is the upper's.
pub(super) fn upper_of(parts: &[Part]) -> Option<Arc<OwnedFd>> {
    let top = parts.first().filter(|part| part.layer().is_none());
    top.map(|part| Arc::clone(&part.fd))
}

/// Returns those of merged directories that are in sealed layers.
pub(super) fn lower_of(parts: &[Part]) -> &[Part] {
    match parts.split_first() {
        Some((top, lower)) if top.layer().is_none() => lower,
        _ => parts,
    }
}
