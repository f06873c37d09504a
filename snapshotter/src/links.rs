//! Copy by link: who shares inodes with whom.
//!
//! A sealed file may become a name in a new layer without being copied. Three rules keep that
//! invisible to everybody who looks at a view:
//!
//! - one inode has one name per view: neither the source layer nor any layer that shares inodes with
//!   it may be below the new layer, and an inode is linked once per layer (unless the source has it
//!   under several names and the copy keeps that);
//! - a shared inode never changes: before a write the name gets a copy of its own;
//! - the manifest names the layers that inodes come from (`links_from`, transitively).

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_types::LayerId;
use lamina_types::RootedPath;

use crate::inodes::InodeSet;
use crate::stack::LayerStack;
use crate::store::Layer;

/// Returns the layers that `layer` may share inodes with, itself included.
pub(crate) fn family(layer: &Layer) -> BTreeSet<LayerId> {
    let mut family = layer.links_from();
    family.insert(layer.id());
    family
}

/// A name in a directory of the view.
pub(crate) type Place = (RootedPath, Vec<u8>);

/// The links into sealed layers of one active layer.
///
/// A copy may link millions of files, so of a file with one name here only the inode is remembered: who
/// changes it knows the name.
pub(crate) struct LinkBook {
    below: BTreeSet<LayerId>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// Inodes of sealed layers that have names here.
    shared: InodeSet,
    /// The names of those that have several.
    names: HashMap<u64, Vec<Place>>,
    sources: BTreeSet<LayerId>,
    verdicts: HashMap<LayerId, bool>,
}

impl LinkBook {
    /// Starts without links, above `lower`.
    pub(crate) fn new(lower: &LayerStack) -> Self {
        Self {
            below: lower.layers().iter().flat_map(family).collect(),
            book: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether the inode, which is in `source`, may become a name here.
    pub(crate) fn may_link(&self, inode: u64, source: &Layer) -> bool {
        let mut book = self.lock();
        !book.shared.contains(inode) && book.admits(&self.below, source)
    }

    /// Says whether files of `source` may become names here at all.
    pub(crate) fn may_link_any(&self, source: &Layer) -> bool {
        self.lock().admits(&self.below, source)
    }

    /// Reserves the inode for one name if [`LinkBook::may_link`] holds.
    pub(crate) fn claim(&self, inode: u64, source: &Layer) -> bool {
        let mut book = self.lock();
        if book.shared.contains(inode) || !book.admits(&self.below, source) {
            return false;
        }
        book.shared.insert(inode);
        // Who is named has brought its family, which is asked for once and not for each file.
        if !book.sources.contains(&source.id()) {
            book.sources.extend(family(source));
        }
        true
    }

    /// Gives a claim back whose link could not be made.
    pub(crate) fn disclaim(&self, inode: u64) {
        self.lock().shared.remove(inode);
    }

    /// Notes a further name beside a known one, if the inode is one of a sealed layer.
    pub(crate) fn note(&self, inode: u64, known: Place, further: Place) {
        let mut book = self.lock();
        if !book.shared.contains(inode) {
            return;
        }
        let names = book.names.entry(inode).or_default();
        if !names.contains(&known) {
            names.push(known);
        }
        names.push(further);
    }

    /// Says whether the inode is one of a sealed layer.
    pub(crate) fn is_shared(&self, inode: u64) -> bool {
        self.lock().shared.contains(inode)
    }

    /// Forgets the inode, which is to be replaced, and returns its names if it has several; `None` if
    /// it is not shared.
    pub(crate) fn take(&self, inode: u64) -> Option<Vec<Place>> {
        let mut book = self.lock();
        let names = book.names.remove(&inode).unwrap_or_default();
        book.shared.remove(inode).then_some(names)
    }

    /// Says whether nothing is shared.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().shared.is_empty()
    }

    /// Says whether an inode of a sealed layer may have several names here.
    pub(crate) fn has_further_names(&self) -> bool {
        !self.lock().names.is_empty()
    }

    /// Returns the layers that inodes come from; none if no link is left.
    pub(crate) fn sources(&self) -> BTreeSet<LayerId> {
        let book = self.lock();
        if book.shared.is_empty() {
            return BTreeSet::new();
        }
        book.sources.clone()
    }
}

impl Book {
    fn admits(&mut self, below: &BTreeSet<LayerId>, source: &Layer) -> bool {
        let verdict = self.verdicts.entry(source.id());
        *verdict.or_insert_with(|| family(source).is_disjoint(below))
    }
}
