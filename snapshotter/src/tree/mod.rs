//! The one implementation of overlayfs' look-up rules, in user space.
//!
//! A [`Tree`] stacks directories as overlayfs does. Per component, top to bottom: a whiteout means
//! absent below, anything but a directory ends the search, a directory is opened and joins the list
//! of directories that merge there. Sealed layers never change and every step is one component from
//! an open descriptor, so nothing in an image leads out of it and nothing races.

mod entry;
mod find;
mod listing;
mod lookup;

use std::sync::Arc;
use std::sync::OnceLock;

use lamina_types::RootedPath;

pub use entry::Entry;
pub use entry::Origin;
pub use lookup::Follow;

pub(crate) use entry::shown_while;
pub(crate) use find::Found;
pub(crate) use find::Part;
pub(crate) use find::find;
pub(crate) use find::is_opaque;
pub(crate) use listing::Shown;
pub(crate) use listing::read_merged;
pub(crate) use listing::read_merged_kinds;
pub(crate) use lookup::MAX_SYMLINKS;

use crate::SnapshotError;
use crate::StoreFormat;
use crate::stack::LayerStack;

/// A merged, read-only view of directories stacked as overlayfs does. Cheap to clone.
///
/// It keeps the layers that it reads alive, and so does every [`Entry`].
#[derive(Clone)]
pub struct Tree(Arc<TreeInner>);

struct TreeInner {
    lower: LayerStack,
    upper: Option<Part>,
    parts: OnceLock<Arc<[Part]>>,
}

impl Tree {
    /// Reads `lower` alone.
    pub(crate) fn of_stack(lower: LayerStack) -> Self {
        Self(Arc::new(TreeInner {
            lower,
            upper: None,
            parts: OnceLock::new(),
        }))
    }

    /// Reads `lower` with the unsealed directory `upper` on top.
    pub(crate) fn of_active(
        lower: LayerStack,
        upper: Arc<std::os::fd::OwnedFd>,
        format: StoreFormat,
    ) -> Self {
        Self(Arc::new(TreeInner {
            lower,
            upper: Some(Part::upper(upper, format)),
            parts: OnceLock::new(),
        }))
    }

    /// Returns the directories that merge at the root, topmost first, opening them at first.
    pub(crate) fn root_parts(&self) -> Result<Arc<[Part]>, SnapshotError> {
        if let Some(parts) = self.0.parts.get() {
            return Ok(Arc::clone(parts));
        }
        let mut parts: Vec<Part> = self.0.upper.iter().cloned().collect();
        for layer in self.0.lower.layers().iter().rev() {
            parts.push(Part::sealed(layer.open_fs()?, layer));
        }
        Ok(Arc::clone(self.0.parts.get_or_init(|| parts.into())))
    }

    /// Returns the root directory.
    ///
    /// # Errors
    /// If a layer's directory cannot be opened.
    pub fn root(&self) -> Result<Entry, SnapshotError> {
        Entry::directory(self, RootedPath::root(), self.root_parts()?)
    }
}
