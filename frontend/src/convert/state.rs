//! The state that instructions change and later ones see.

use std::collections::BTreeSet;

use crate::env::Env;
use crate::graph::Output;
use crate::paths;

/// A tree and how processes run on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// The tree; `None` for scratch.
    pub(crate) output: Option<Output>,
    pub(crate) env: Env,
    /// The working directory; empty for the root.
    pub(crate) dir: String,
    pub(crate) user: String,
    pub(crate) hostname: String,
}

/// Paths of a tree that are used.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct PathSet(BTreeSet<String>);

impl PathSet {
    /// Adds a path, taken from the root.
    pub(crate) fn add(&mut self, path: &str) {
        self.0.insert(paths::join("/", path));
    }

    /// Adds all paths of another set.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// Returns the paths as a source takes them: relative and sorted; none if everything is used.
    pub(crate) fn to_follow(&self) -> Vec<String> {
        if self.0.contains("/") {
            return Vec::new();
        }
        self.0
            .iter()
            .map(|path| path.trim_start_matches('/').to_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_means_everything() {
        let mut set = PathSet::default();
        set.add("b/../c");
        set.add("a");
        assert_eq!(set.to_follow(), ["a", "c"]);
        set.add(".");
        assert!(set.to_follow().is_empty());
    }
}
