//! Filtered selections: wildcards, includes and excludes, with the rules of the copy that they are for.
//!
//! A wildcard's leading components without special characters are resolved, links included; what is
//! below is matched as it would be named from there. A copy that does not follow links finds nothing
//! where the last of them is a symlink, so what it selects is not what the same pattern selects in a
//! directory, and its digest is another one. Directories count by their headers, and one that
//! no pattern includes counts if something below it does. With followed links, a symlink that no counted
//! directory leads to counts as its target: what a wildcard matched, and what is directly in a directory
//! that is given with a slash at the end.

use lamina_patterns::ParentMatch;
use lamina_patterns::PatternList;
use lamina_patterns::Wildcard;
use lamina_patterns::is_wildcard;
use lamina_types::Digest;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::RootedPath;

use super::Selection;
use super::batch::Batch;
use super::batch::Context;
use super::batch::Slot;
use super::content;
use crate::SnapshotError;
use crate::tree::Entry;
use crate::tree::Follow;
use crate::tree::Part;
use crate::tree::Shown;
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
    let is_unfollowed = follow == Follow::Last && !selection.follow_links && is_link(tree, &base)?;
    let start = match tree.lookup(&base, follow) {
        Err(error) if is_missing(&error) => return Ok(Digest::of(b"")),
        found => found?,
    };
    let mut selector = Selector::new(tree, selection, &path, context)?;
    selector.run(start, &base)?;
    let included = selector.finish()?;
    Ok(match included.as_slice() {
        [] => Digest::of(b""),
        list if is_unfollowed => {
            let list = list.iter();
            let list = list.map(|(path, digest)| (path.as_bytes(), digest));
            Digest::of(format!("unfollowed {}", content::selection(list)).as_bytes())
        }
        [(only, digest)] if file_name(only) == path.file_name() => *digest,
        list => {
            let prefix = base.relative().len() + usize::from(!base.is_root());
            let list = list.iter();
            content::selection(list.map(|(path, digest)| (&path.as_bytes()[prefix..], digest)))
        }
    })
}

/// Says whether there is a symlink at `path`.
fn is_link(tree: &Tree, path: &RootedPath) -> Result<bool, SnapshotError> {
    match tree.lookup(path, Follow::Parents) {
        Err(error) if is_missing(&error) => Ok(false),
        found => Ok(found?.stat().kind == FileKind::Symlink),
    }
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
    names: Vec<Shown>,
    state: State,
    header_included: bool,
}

/// What is known of a place.
#[derive(Clone, Default)]
struct State {
    /// Where names below the directory that patterns are relative to begin, in bytes of a path; none
    /// outside of what the wildcard matches.
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
        let verdict = self.judge(path, &State::default());
        match start.holder() {
            Err(_) => self.enter(start, path.clone(), verdict)?,
            Ok((part, name)) if verdict.included => {
                let is_link = start.stat().kind == FileKind::Symlink;
                self.include_file(part, name.to_vec(), path.clone(), is_link)?;
            }
            Ok(_) => {}
        }
        while let Some(level) = self.levels.last_mut() {
            self.context.cancel.check()?;
            match level.names.pop() {
                Some(shown) => self.visit(shown)?,
                None => drop(self.levels.pop()),
            }
        }
        Ok(())
    }

    /// Judges a name of the innermost directory. Only directories that lead on are opened, and nothing
    /// is asked of files that do not count.
    fn visit(&mut self, shown: Shown) -> Result<(), SnapshotError> {
        let level = self.levels.last().expect("a name is in a directory");
        let path = level.path.join(&shown.name);
        let verdict = self.judge(&path, &level.state);
        if shown.is_dir {
            if verdict.included || verdict.walk {
                let entry = level.entry.child(&shown.name)?;
                self.enter(entry, path, verdict)?;
            }
        } else if verdict.included {
            let part = level.entry.parts()?[shown.part].clone();
            let may_follow = self.follow_links && !level.state.has_header;
            let is_link = may_follow && shown.is_symlink(&part).at(&path)?;
            self.include_file(&part, shown.name, path, is_link)?;
        }
        Ok(())
    }

    /// Includes a directory if it counts itself, and goes on to what is in it.
    fn enter(
        &mut self,
        entry: Entry,
        path: RootedPath,
        mut verdict: Verdict,
    ) -> Result<(), SnapshotError> {
        let headless = self.without_top && path == *self.path;
        let included = verdict.included && !headless;
        verdict.state.has_header |= verdict.state.base.is_some() && !headless;
        if included {
            self.include_parents();
            let header = content::header(entry.stat());
            self.included.push((path.clone(), Value::Done(header)));
        }
        if verdict.walk {
            let mut names = entry.shown_while(self.context.cancel)?;
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

    /// Includes what is no directory: by what it leads to if it is a link to be followed.
    fn include_file(
        &mut self,
        part: &Part,
        name: Vec<u8>,
        path: RootedPath,
        is_link: bool,
    ) -> Result<(), SnapshotError> {
        self.include_parents();
        let target = match is_link && self.follow_links {
            true => self.target(&path)?,
            false => None,
        };
        let value = match target {
            Some(digest) => Value::Done(digest),
            None => Value::File(self.batch.add(part, name)?),
        };
        self.included.push((path, value));
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

    /// Digests what the link at `path` leads to, if there is anything.
    fn target(&self, path: &RootedPath) -> Result<Option<Digest>, SnapshotError> {
        match self.tree.lookup(path, Follow::Last) {
            Ok(target) => super::entry(&target, self.context).map(Some),
            Err(error) if leads_nowhere(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn judge(&self, path: &RootedPath, parent: &State) -> Verdict {
        let mut state = parent.clone();
        let base = match (&self.wildcard, state.base) {
            (_, Some(base)) => base,
            (None, None) => start_below(path),
            (Some(wildcard), None) if wildcard.matches(path.as_bytes()) => start_below(path),
            (Some(_), None) => {
                return Verdict {
                    walk: path.components().count() < self.path.components().count(),
                    included: false,
                    state,
                };
            }
        };
        state.base = Some(base);
        let relative = path.as_bytes().get(base..).unwrap_or_default();
        self.apply_patterns(relative, state, parent)
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

/// Returns how many bytes of the paths below `path` are those of `path` and the slash after it.
fn start_below(path: &RootedPath) -> usize {
    path.as_bytes().len() + usize::from(!path.is_root())
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
