//! Content digests: what decides whether two trees are the same input.
//!
//! | what | digest |
//! |---|---|
//! | anything but a directory | kind, mode, owner, size, link target, device number, attributes, data |
//! | header of a directory | the same, without size and data |
//! | directory | its header, and names and digests of its children in byte order |
//! | filtered selection | paths and digests of what was selected: files, and headers of directories |
//!
//! Neither the name of the file itself nor any time counts, and of the attributes none of `system.*`
//! and of `security.*` only file capabilities. See [`content`] for the bytes.
//!
//! Sealed layers never change, so the digest of a file, and of a directory that nothing merges with, is
//! kept with the layer under its inode number and serves every stack with that layer. Where the bytes
//! of a file pass through our hands the digest is computed then; see [`written`]. A link to a file of
//! another layer takes over what is known there.

mod batch;
mod content;
mod memo;
mod select;
mod whole;
mod written;

use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::RootedPath;
use lamina_types::Stat;

pub use written::FileDigester;

pub(crate) use memo::Memo;
pub(crate) use written::Book;

use crate::LayerStack;
use crate::SnapshotError;
use crate::tree::Entry;
use crate::tree::Follow;
use crate::tree::Tree;
use batch::Context;

/// Says which part of a tree is digested (rows FIL-25, LLB-17).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// A path, or a pattern with Go's rules if `wildcard`. With a slash at the end, the directory's own
    /// metadata does not count in a filtered selection.
    pub path: Vec<u8>,
    /// `path` is a pattern.
    pub wildcard: bool,
    /// What is selected itself is followed if it is a symlink; else its target text counts.
    pub follow_links: bool,
    /// Only what these patterns match, relative to what is selected; all if there are none.
    pub include: Vec<String>,
    /// Not what these patterns match.
    pub exclude: Vec<String>,
}

impl Selection {
    /// Selects a path and all below it.
    pub fn of_path(path: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    fn is_filtered(&self) -> bool {
        self.wildcard || !self.include.is_empty() || !self.exclude.is_empty()
    }
}

impl LayerStack {
    /// Returns the content digest of what `selection` names. Uses the current rayon pool.
    ///
    /// A pattern that matches nothing has the digest of no data.
    ///
    /// # Errors
    /// `ENOENT` for a plain path that does not exist; [`SnapshotError::Pattern`];
    /// [`SnapshotError::Cancelled`]; I/O errors.
    pub fn digest(
        &self,
        selection: &Selection,
        cancel: &CancelToken,
    ) -> Result<Digest, SnapshotError> {
        let context = Context::new(self, cancel);
        let tree = self.tree();
        let digest = if selection.is_filtered() {
            select::digest(&tree, selection, &context)
        } else {
            plain(&tree, selection, &context)
        };
        context.save();
        digest
    }
}

fn plain(
    tree: &Tree,
    selection: &Selection,
    context: &Context<'_>,
) -> Result<Digest, SnapshotError> {
    let follow = match selection.follow_links {
        true => Follow::Last,
        false => Follow::Parents,
    };
    entry(
        &tree.lookup(&RootedPath::new(&selection.path), follow)?,
        context,
    )
}

/// Says whether two files with the same data have the same digest.
pub(crate) fn counts_alike(a: &Stat, b: &Stat) -> bool {
    content::header(a) == content::header(b)
}

/// Digests an entry with all below it.
fn entry(entry: &Entry, context: &Context<'_>) -> Result<Digest, SnapshotError> {
    match entry.stat().is_dir() {
        true => whole::directory(entry, context),
        false => context.file_of_entry(entry),
    }
}
