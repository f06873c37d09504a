//! Filtered selections: wildcards, includes and excludes, with the rules of the copy that they are for.
//!
//! A wildcard's leading components without special characters are resolved, links included; what is
//! below is matched as it would be named from there. Directories count by their headers, and one that
//! no pattern includes counts if something below it does. With followed links, a symlink that no counted
//! directory leads to counts as its target: what a wildcard matched, and what is directly in a directory
//! that is given with a slash at the end.

use lamina_patterns::ParentMatch;
use lamina_patterns::PatternList;
use lamina_patterns::Wildcard;
use lamina_patterns::is_wildcard;
use lamina_types::Digest;
use lamina_types::FileKind;
use lamina_types::RootedPath;

use super::Selection;
use super::batch::Batch;
use super::batch::Context;
use super::batch::Slot;
use super::content;
use crate::SnapshotError;
use crate::tree::Entry;
use crate::tree::Follow;
use crate::tree::Tree;

/// Digests what `selection`, which filters, selects.
pub(super) fn digest(
    tree: &Tree,
    selection: &Selection,
    context: &Context<'_>,
) -> Result<Digest, SnapshotError> {
    let path = RootedPath::new(&selection.path);
    let base = if selection.wildcard {
        wildcard_base(&path)
    } else {
        path.clone()
    };
    let follow = match selection.wildcard && base != path {
        true => Follow::Last,
        false => Follow::Parents,
    };
    let start = match tree.lookup(&base, follow) {
        Err(error) if is_missing(&error) => return Ok(Digest::of(b"")),
        found => found?,
    };
    let mut selector = Selector::new(tree, selection, &path, context)?;
    selector.run(start, &base)?;
    let included = selector.finish()?;
    Ok(match included.as_slice() {
        [] => Digest::of(b""),
        [(only, digest)] if file_name(only) == path.file_name() => *digest,
        list => {
            let prefix = base.relative().len() + usize::from(!base.is_root());
            let list = list.iter();
            content::selection(list.map(|(path, digest)| (&path.as_bytes()[prefix..], digest)))
        }
    })
}

fn file_name(path: &RootedPath) -> Option<&[u8]> {
    path.file_name()
}

fn is_missing(error: &SnapshotError) -> bool {
    error.is_not_found() || error.errno() == Some(rustix::io::Errno::NOTDIR.raw_os_error())
}

/// Says whether a symlink has no target; then it counts as what it is.
fn leads_nowhere(error: &SnapshotError) -> bool {
    is_missing(error) || matches!(error, SnapshotError::TooManyLinks { .. })
}

/// Returns the components of a pattern before the first that has special characters.
fn wildcard_base(pattern: &RootedPath) -> RootedPath {
    let plain = pattern.components().take_while(|part| !is_wildcard(part));
    plain.fold(RootedPath::root(), |base, part| base.join(part))
}

struct Selector<'a> {
    tree: &'a Tree,
    path: &'a RootedPath,
    wildcard: Option<Wildcard>,
    include: PatternList,
    exclude: PatternList,
    follow_links: bool,
    /// The metadata of the selected directory itself does not count.
    without_top: bool,
    context: &'a Context<'a>,
    batch: Batch<'a>,
    included: Vec<(RootedPath, Value)>,
    /// Directories that lead to the current place.
    levels: Vec<Level>,
}

enum Value {
    Done(Digest),
    File(Slot),
}

/// A directory under way.
struct Level {
    entry: Entry,
    /// Its path as the pattern sees it: links before the wildcard are not resolved.
    path: RootedPath,
    /// Names left, last first.
    names: Vec<Vec<u8>>,
    state: State,
    header_included: bool,
}

/// What is known of a place.
#[derive(Clone, Default)]
struct State {
    /// Number of components of the directory that patterns are relative to; none outside of what the
    /// wildcard matches.
    base: Option<usize>,
    /// Some directory on the way counts by its header, or would if something below it did.
    has_header: bool,
    include: ParentMatch,
    exclude: ParentMatch,
}

/// What becomes of a place.
struct Verdict {
    state: State,
    included: bool,
    /// Something below it may be included.
    walk: bool,
}

impl<'a> Selector<'a> {
    fn new(
        tree: &'a Tree,
        selection: &Selection,
        path: &'a RootedPath,
        context: &'a Context<'a>,
    ) -> Result<Self, SnapshotError> {
        let wildcard = selection.wildcard && !path.is_root();
        Ok(Self {
            tree,
            path,
            wildcard: wildcard
                .then(|| Wildcard::new(path.as_bytes()))
                .transpose()?,
            include: PatternList::new(&selection.include)?,
            exclude: PatternList::new(&selection.exclude)?,
            follow_links: selection.follow_links,
            without_top: selection.path.ends_with(b"/"),
            context,
            batch: Batch::new(context),
            included: Vec::new(),
            levels: Vec::new(),
        })
    }

    fn run(&mut self, start: Entry, path: &RootedPath) -> Result<(), SnapshotError> {
        self.visit(start, path.clone(), &State::default())?;
        while let Some(level) = self.levels.last_mut() {
            self.context.cancel.check()?;
            let Some(name) = level.names.pop() else {
                self.levels.pop();
                continue;
            };
            let (child, path) = (level.entry.child(&name)?, level.path.join(&name));
            let parent = level.state.clone();
            self.visit(child, path, &parent)?;
        }
        Ok(())
    }

    fn visit(
        &mut self,
        entry: Entry,
        path: RootedPath,
        parent: &State,
    ) -> Result<(), SnapshotError> {
        let mut verdict = self.judge(&path, parent);
        let is_dir = entry.stat().is_dir();
        let headless = is_dir && self.without_top && path == *self.path;
        let included = verdict.included && !headless;
        verdict.state.has_header |= verdict.state.base.is_some() && !headless;
        if included {
            self.include_parents();
            let value = self.value(&entry, &path, parent)?;
            self.included.push((path.clone(), value));
        }
        if is_dir && verdict.walk {
            let mut names = entry.read_dir()?;
            names.reverse();
            self.levels.push(Level {
                entry,
                names,
                // Never included later: it is, or it must not be.
                header_included: included || headless || verdict.state.base.is_none(),
                path,
                state: verdict.state,
            });
        }
        Ok(())
    }

    /// Includes the directories that lead here and were not included themselves.
    fn include_parents(&mut self) {
        for level in &mut self.levels {
            if !std::mem::replace(&mut level.header_included, true) {
                let header = content::header(level.entry.stat());
                self.included
                    .push((level.path.clone(), Value::Done(header)));
            }
        }
    }

    fn value(
        &mut self,
        entry: &Entry,
        path: &RootedPath,
        parent: &State,
    ) -> Result<Value, SnapshotError> {
        let stat = entry.stat();
        if stat.is_dir() {
            return Ok(Value::Done(content::header(stat)));
        }
        if stat.kind == FileKind::Symlink && self.follow_links && !parent.has_header {
            match self.tree.lookup(path, Follow::Last) {
                Ok(target) => return Ok(Value::Done(super::entry(&target, self.context)?)),
                Err(error) if leads_nowhere(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let (part, name) = entry.holder()?;
        Ok(Value::File(self.batch.add(part, name.to_vec())?))
    }

    fn judge(&self, path: &RootedPath, parent: &State) -> Verdict {
        let depth = path.components().count();
        let mut state = parent.clone();
        match (&self.wildcard, state.base) {
            (_, Some(_)) => {}
            (None, None) => state.base = Some(depth),
            (Some(wildcard), None) if wildcard.matches(path.as_bytes()) => {
                state.base = Some(depth);
            }
            (Some(_), None) => {
                return Verdict {
                    walk: depth < self.path.components().count(),
                    included: false,
                    state,
                };
            }
        }
        let relative = relative_to(path, state.base.unwrap_or(depth));
        self.apply_patterns(&relative, state, parent)
    }

    fn apply_patterns(&self, relative: &[u8], mut state: State, parent: &State) -> Verdict {
        let mut included = true;
        let mut walk = true;
        if !self.include.is_empty() {
            let (matched, result) = self.include.matches(relative, &parent.include);
            state.include = result;
            included = matched;
            walk = matched || relative.is_empty() || self.include.may_match_below(relative);
        }
        if included && !self.exclude.is_empty() {
            let (matched, result) = self.exclude.matches(relative, &parent.exclude);
            state.exclude = result;
            if matched {
                included = false;
                walk &= relative.is_empty() || self.exclude.may_take_back_below(relative);
            }
        }
        Verdict {
            state,
            included,
            walk,
        }
    }

    fn finish(self) -> Result<Vec<(RootedPath, Digest)>, SnapshotError> {
        let hashed = self.batch.finish()?;
        let included = self.included.into_iter();
        let digests = included.map(|(path, value)| match value {
            Value::Done(digest) => (path, digest),
            Value::File(slot) => (path, hashed.get(slot)),
        });
        Ok(digests.collect())
    }
}

/// Returns `path` without its first `base` components and without a leading slash.
fn relative_to(path: &RootedPath, base: usize) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.components().skip(base).collect();
    parts.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_start_of_a_pattern() {
        for (pattern, base) in [
            ("/a/b*/c", "/a"),
            ("/*", "/"),
            ("/a/b", "/a/b"),
            ("/a/[x]", "/a"),
        ] {
            let base = RootedPath::new(base);
            assert_eq!(wildcard_base(&RootedPath::new(pattern)), base, "{pattern}");
        }
    }
}
