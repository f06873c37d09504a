//! Copies from a source tree (rows FIL-06 to FIL-19).
//!
//! 1. [`run`] finds what the source names and where it goes, and makes missing parents.
//! 2. [`walk`] goes through the source. For every name it decides, from patterns and from what is
//!    at the destination, whether and how it is copied; of several errors the first in path order
//!    is reported, however the work was spread over threads.
//! 3. [`node`] holds the directories under way: made when first needed, finished (owner, attributes,
//!    mode, time) once all inside is done.
//! 4. [`file`] puts one file in place: by a link to the sealed inode if nothing about it changes,
//!    else by reflink, by `copy_file_range`, or by reading and writing ([`ways`]); large files in
//!    ranges, on all threads ([`data`]).
//! 5. [`links`] makes the further names of hard-linked files last, when their first names exist.

mod data;
mod file;
mod links;
mod node;
mod settings;
mod walk;
mod ways;

use lamina_snapshotter::Entry;
use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Tree;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::FileKind;
use lamina_types::PathError;
use lamina_types::RootedPath;
use rayon::iter::IntoParallelRefIterator;
use rayon::iter::ParallelIterator;

use self::settings::Settings;
use self::walk::Walk;
use crate::FileOpError;
use crate::action::CopyAction;
use crate::dirs::DirectoryMaker;
use crate::names::CopyPath;
use crate::target::Target;
use crate::target::failed;
use crate::unpack;
use crate::wildcards::matches;

/// Copies what the action names from `source` (nothing, if it has none) into the target.
pub(crate) fn run(
    action: &CopyAction,
    target: &Target,
    source: Option<&Tree>,
    cancel: &CancelToken,
) -> Result<(), FileOpError> {
    let empty = LayerStack::empty().tree();
    let copy = Copy {
        action,
        settings: Settings::new(action)?,
        target,
        source: source.unwrap_or(&empty),
        destination: CopyPath::new(&action.destination),
        cancel,
    };
    if !action.create_parents {
        copy.check_parent()?;
    }
    let mut made = Made {
        parents: DirectoryMaker::new(0o755, copy.settings.owner, action.timestamp),
        inside: None,
    };
    let sources = copy.sources()?;
    for siblings in sources.chunk_by(|a, b| a.path().parent() == b.path().parent()) {
        match siblings {
            [_, _, ..] if !action.unpack_archives => copy.siblings(siblings, &mut made)?,
            _ => copy.one_by_one(siblings, &mut made)?,
        }
    }
    made.parents.finish()
}

/// Matches of a pattern that are looked up before they are copied; each may keep one directory open.
const FOUND_AT_ONCE: usize = 256;

/// A match of a pattern, and what is there.
type Found<'a> = (&'a CopyPath, Result<Entry, FileOpError>);

/// What was made on the way, for all sources of one action.
struct Made {
    parents: DirectoryMaker,
    /// The destination, once it is known to be a directory that sources go into, and to be reached
    /// without symlinks.
    inside: Option<WriteDir>,
}

/// One action, ready to be carried out.
struct Copy<'a> {
    action: &'a CopyAction,
    settings: Settings,
    target: &'a Target,
    source: &'a Tree,
    destination: CopyPath,
    cancel: &'a CancelToken,
}

impl Copy<'_> {
    fn follow(&self) -> Follow {
        match self.action.follow_symlink {
            true => Follow::Last,
            false => Follow::Parents,
        }
    }

    /// Checks that the directory of the destination exists.
    fn check_parent(&self) -> Result<(), FileOpError> {
        let place = self.target.resolve(self.destination.path())?;
        let parent = place.parent().unwrap_or_else(RootedPath::root);
        if self.target.find(&parent)?.is_some() {
            return Ok(());
        }
        Err(FileOpError::NoDestination {
            destination: String::from_utf8_lossy(&self.action.destination).into_owned(),
            source: PathError {
                path: format!("lstat {parent}"),
                source: rustix::io::Errno::NOENT.into(),
            },
        })
    }

    /// Returns what the source names: itself, or all that its pattern matches.
    fn sources(&self) -> Result<Vec<CopyPath>, FileOpError> {
        let named = CopyPath::new(&self.action.source);
        if !self.action.allow_wildcard {
            return Ok(vec![named]);
        }
        let found = matches(self.source, named.path(), self.follow(), self.cancel)?;
        if found.is_empty() && !self.action.allow_empty_wildcard {
            let pattern = named.to_string();
            return Err(FileOpError::NoMatch { pattern });
        }
        Ok(found.into_iter().map(CopyPath::from).collect())
    }

    /// Unpacks `source` if it is an archive; says whether it was.
    fn unpack(&self, source: &CopyPath, made: &mut Made) -> Result<bool, FileOpError> {
        let Ok(archive) = self.source.lookup(source.path(), Follow::Last) else {
            return Ok(false);
        };
        let destination = || {
            let place = self.target.resolve(self.destination.path())?;
            made.parents.mode = 0o755;
            made.parents.make_all(self.target, &place)
        };
        unpack::run(&archive, destination, self.settings.owner, self.cancel)
    }

    fn one_by_one(&self, sources: &[CopyPath], made: &mut Made) -> Result<(), FileOpError> {
        for named in sources {
            self.cancel.check()?;
            if !(self.action.unpack_archives && self.unpack(named, made)?) {
                self.copy(named, self.find_source(named)?, made)?;
            }
        }
        Ok(())
    }

    /// Copies what a pattern matches in one directory: what is found, some at a time, in path order.
    fn siblings(&self, siblings: &[CopyPath], made: &mut Made) -> Result<(), FileOpError> {
        let parent = siblings[0].path().parent();
        let parent = CopyPath::from(parent.unwrap_or_else(RootedPath::root));
        let parent = self.find_source(&parent)?;
        for some in siblings.chunks(FOUND_AT_ONCE) {
            let found: Vec<_> = some
                .par_iter()
                .map(|named| (named, self.find_sibling(&parent, named)))
                .collect();
            self.found(found, made)?;
        }
        Ok(())
    }

    /// Copies what was found. Files that go into one directory do not depend on each other, so all
    /// threads copy them; a directory may bring the same names as its siblings, so it has its turn.
    fn found(&self, found: Vec<Found<'_>>, made: &mut Made) -> Result<(), FileOpError> {
        let mut files: Vec<(Vec<u8>, Entry)> = Vec::new();
        for (named, source) in found {
            match (source, named.name_inside()) {
                (Ok(source), Some(name)) if made.inside.is_some() && !source.stat().is_dir() => {
                    files.push((name, source));
                }
                (source, _) => {
                    self.files_inside(std::mem::take(&mut files), made)?;
                    self.copy(named, source?, made)?;
                }
            }
        }
        self.files_inside(files, made)
    }

    /// Copies files with these names into the directory that is known.
    fn files_inside(&self, files: Vec<(Vec<u8>, Entry)>, made: &Made) -> Result<(), FileOpError> {
        match &made.inside {
            Some(dir) => self.walk().files(&files, dir),
            None => Ok(()),
        }
    }

    fn walk(&self) -> Walk<'_> {
        Walk::new(self.target, &self.settings, self.cancel)
    }

    /// Copies one source.
    fn copy(&self, named: &CopyPath, source: Entry, made: &mut Made) -> Result<(), FileOpError> {
        let parents = &mut made.parents;
        parents.mode = self.settings.mode.of_new_directory();
        let needed = self.target.resolve(&self.destination.needed_directory())?;
        parents.make_all(self.target, &needed)?;
        let place = self.place(named, &source)?;
        let existed = self.target.find(&place)?.is_some();
        let spread = self.action.directory_contents && source.stat().is_dir() && !existed;
        let parent = match place.parent() {
            Some(parent) if !spread => parent,
            _ => place.clone(),
        };
        let dir = parents.make_all(self.target, &parent)?;
        if parent == *self.destination.path() {
            made.inside = Some(dir);
        }
        self.walk().run(source, &place)
    }

    /// Returns what `named` is in `parent`, which holds it.
    fn find_sibling(&self, parent: &Entry, named: &CopyPath) -> Result<Entry, FileOpError> {
        self.cancel.check()?;
        let name = named.path().file_name().unwrap_or_default();
        match parent.child(name) {
            Ok(found) if found.stat().kind != FileKind::Symlink => Ok(found),
            // To be followed perhaps, or to be named in an error.
            _ => self.find_source(named),
        }
    }

    fn find_source(&self, named: &CopyPath) -> Result<Entry, FileOpError> {
        match self.source.lookup(named.path(), self.follow()) {
            Err(error) if error.is_not_found() => Err(FileOpError::SourceNotFound {
                path: named.path().to_string(),
            }),
            other => other.map_err(failed("lstat", named.path())),
        }
    }

    /// Returns where the copy of `source` goes: the destination, or a name inside it.
    fn place(&self, named: &CopyPath, source: &Entry) -> Result<RootedPath, FileOpError> {
        let place = self.target.resolve(self.destination.path())?;
        let existing = self.target.find(&place)?;
        let inside = match (existing, source.stat().is_dir()) {
            (None, _) => false,
            (Some(_), true) => !self.action.directory_contents,
            (Some(there), false) => there.stat().is_dir(),
        };
        Ok(match named.name_inside() {
            Some(name) if inside => place.join(name),
            _ => place,
        })
    }
}
