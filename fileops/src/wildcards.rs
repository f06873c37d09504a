//! Patterns in the paths of copies and removals (rows FIL-14, FIL-22).

use lamina_patterns::Wildcard;
use lamina_patterns::is_wildcard;
use lamina_snapshotter::Entry;
use lamina_snapshotter::Follow;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::Tree;
use lamina_types::CancelToken;
use lamina_types::RootedPath;

use crate::FileOpError;
use crate::target::failed;

/// Returns the paths in `tree` that `pattern` matches, in path order; `pattern` itself if it has
/// nothing special.
///
/// Symlinks before the first special component are followed, at its end only if `follow` says so;
/// none is followed behind it. A malformed pattern matches nothing. What is inside a directory that
/// matches is not looked at.
pub(crate) fn matches(
    tree: &Tree,
    pattern: &RootedPath,
    follow: Follow,
    cancel: &CancelToken,
) -> Result<Vec<RootedPath>, FileOpError> {
    let parts: Vec<&[u8]> = pattern.components().collect();
    let Some(first) = parts.iter().position(|part| is_wildcard(part)) else {
        return Ok(vec![pattern.clone()]);
    };
    let base = RootedPath::new(parts[..first].join(&b'/'));
    let base = tree.lookup(&base, follow).map_err(failed("lstat", &base))?;
    let mut found = Vec::new();
    match Search::new(&parts[first..]) {
        Some(search) if base.stat().is_dir() => search.run(&base, &mut found, cancel)?,
        _ => {}
    }
    Ok(found)
}

/// A pattern that is looked for below a directory.
enum Search {
    /// Each component for itself: nothing in it can match a `/`.
    ByComponent(Vec<Component>),
    /// Against the path from the base: a class may match `/`.
    ByPath(Wildcard),
}

enum Component {
    Name(Vec<u8>),
    Wildcard(Wildcard),
}

impl Search {
    /// Compiles the pattern; `None` if it is malformed.
    fn new(parts: &[&[u8]]) -> Option<Self> {
        let whole = parts.join(&b'/');
        if whole.contains(&b'[') {
            return Wildcard::new(&whole).ok().map(Self::ByPath);
        }
        let components = parts.iter().map(|part| Component::new(part));
        components.collect::<Option<_>>().map(Self::ByComponent)
    }

    fn run(
        &self,
        base: &Entry,
        found: &mut Vec<RootedPath>,
        cancel: &CancelToken,
    ) -> Result<(), FileOpError> {
        match self {
            Self::ByComponent(components) => by_component(base, components, found, cancel),
            Self::ByPath(wildcard) => by_path(base, b"", wildcard, found, cancel),
        }
    }
}

impl Component {
    fn new(text: &[u8]) -> Option<Self> {
        if text.iter().any(|byte| b"*?\\".contains(byte)) {
            return Wildcard::new(text).ok().map(Self::Wildcard);
        }
        Some(Self::Name(text.to_vec()))
    }

    /// Returns the names in `dir` that may match; each is looked up in turn, so that no more
    /// directories are open than are deep.
    fn select(&self, dir: &Entry, cancel: &CancelToken) -> Result<Vec<Vec<u8>>, SnapshotError> {
        match self {
            Self::Name(name) => Ok(vec![name.clone()]),
            Self::Wildcard(wildcard) => {
                let mut names = dir.read_dir_while(cancel)?;
                names.retain(|name| wildcard.matches(name));
                Ok(names)
            }
        }
    }
}

fn by_component(
    dir: &Entry,
    components: &[Component],
    found: &mut Vec<RootedPath>,
    cancel: &CancelToken,
) -> Result<(), FileOpError> {
    cancel.check()?;
    let Some((first, rest)) = components.split_first() else {
        found.push(dir.path().clone());
        return Ok(());
    };
    for name in first.select(dir, cancel)? {
        if rest.is_empty() && matches!(first, Component::Wildcard(_)) {
            // It was listed, so it is there.
            found.push(dir.path().join(&name));
            continue;
        }
        let child = match dir.child(&name) {
            Err(error) if error.is_not_found() => continue,
            found => found?,
        };
        if rest.is_empty() {
            found.push(child.path().clone());
        } else if child.stat().is_dir() {
            by_component(&child, rest, found, cancel)?;
        }
    }
    Ok(())
}

fn by_path(
    dir: &Entry,
    relative: &[u8],
    wildcard: &Wildcard,
    found: &mut Vec<RootedPath>,
    cancel: &CancelToken,
) -> Result<(), FileOpError> {
    cancel.check()?;
    for name in dir.read_dir_while(cancel)? {
        let path = [relative, &name].concat();
        if wildcard.matches(&path) {
            found.push(dir.path().join(&name));
            continue;
        }
        let child = dir.child(&name)?;
        if child.stat().is_dir() {
            by_path(&child, &[&path[..], b"/"].concat(), wildcard, found, cancel)?;
        }
    }
    Ok(())
}
