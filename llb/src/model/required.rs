//! Paths that a copy with include patterns must find (row FIL-16).
//!
//! `COPY --parents a/b /` is a copy of `/` that includes `a/b` only. That nothing is there would
//! go unnoticed, since patterns may match nothing; so the client names what has to be there.

use lamina_patterns::PatternList;
use lamina_proto::pb;
use lamina_snapshotter::Follow;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::Tree;
use lamina_types::RootedPath;

/// A path that must be among what is copied.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RequiredPath {
    /// What is copied.
    source: RootedPath,
    /// What must be there: below `source`, where links are not followed.
    path: RootedPath,
    /// What alone is copied.
    include: Vec<String>,
    /// What is left out of the copy.
    exclude: Vec<String>,
}

impl RequiredPath {
    /// Returns the paths that `copy` requires; without include patterns they mean nothing.
    pub(super) fn of(copy: &pb::FileActionCopy) -> Vec<Self> {
        if copy.include_patterns.is_empty() {
            return Vec::new();
        }
        let required = |path: &String| Self {
            source: RootedPath::new(&copy.src),
            path: RootedPath::new(path),
            include: copy.include_patterns.clone(),
            exclude: copy.exclude_patterns.clone(),
        };
        copy.required_paths.iter().map(required).collect()
    }

    /// Returns how clients know the path.
    pub(crate) fn name(&self) -> String {
        self.path.to_string()
    }

    /// Says whether the path is in `tree` and is copied.
    pub(crate) fn is_in(&self, tree: &Tree) -> Result<bool, SnapshotError> {
        let source: Vec<&[u8]> = self.source.components().collect();
        let path: Vec<&[u8]> = self.path.components().collect();
        let Some(below) = path.strip_prefix(source.as_slice()) else {
            return Ok(false);
        };
        if !self.may_be_copied(&below.join(&b'/')) {
            return Ok(false);
        }
        match is_below(tree, &self.source, below) {
            Err(error) if error.is_not_found() => Ok(false),
            found => found,
        }
    }

    /// Says whether patterns choose the path, or may choose something inside.
    fn may_be_copied(&self, below: &[u8]) -> bool {
        // Malformed patterns have failed already where the content was digested.
        let chosen = PatternList::new(&self.include).is_ok_and(|include| {
            include.matches_path(below) || below.is_empty() || include.may_match_below(below)
        });
        chosen && PatternList::new(&self.exclude).is_ok_and(|exclude| !exclude.matches_path(below))
    }
}

/// Says whether `source` is there and has the names `below`, one in the other.
fn is_below(tree: &Tree, source: &RootedPath, below: &[&[u8]]) -> Result<bool, SnapshotError> {
    let mut entry = tree.lookup(source, Follow::Last)?;
    for name in below {
        // What is no directory, a link for one, has nothing below it.
        if !entry.stat().is_dir() {
            return Ok(false);
        }
        entry = entry.child(name)?;
    }
    Ok(true)
}
