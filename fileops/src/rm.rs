//! Removal (row FIL-22).
//!
//! What a pattern matches is removed by all threads, a directory at a time: no match is inside another.

use lamina_snapshotter::Follow;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::FileKind;
use lamina_types::RootedPath;
use rayon::iter::IntoParallelIterator;
use rayon::iter::ParallelIterator;
use rustix::io::Errno;

use crate::FileOpError;
use crate::action::RmAction;
use crate::target::Target;
use crate::target::failed;
use crate::wildcards::matches;

/// Removes what the action names; a pattern that matches nothing is no error.
pub(crate) fn run(
    action: &RmAction,
    target: &Target,
    cancel: &CancelToken,
) -> Result<(), FileOpError> {
    let path = RootedPath::new(&action.path);
    let paths = match action.allow_wildcard {
        true => matches(&target.tree, &path, Follow::Parents, cancel)?,
        false => vec![path],
    };
    let removal = Removal {
        target,
        allow_not_found: action.allow_not_found,
        cancel,
    };
    let siblings: Vec<&[RootedPath]> = paths.chunk_by(|a, b| a.parent() == b.parent()).collect();
    if !are_level(&paths) {
        return siblings
            .into_iter()
            .try_for_each(|paths| removal.siblings(paths));
    }
    let removed: Vec<Result<(), FileOpError>> = siblings
        .into_par_iter()
        .map(|paths| removal.siblings(paths))
        .collect();
    removed.into_iter().collect()
}

/// Says whether no directory that changes is above another: only then no time depends on who is first.
fn are_level(paths: &[RootedPath]) -> bool {
    let mut depths = paths.iter().map(|path| path.components().count());
    let first = depths.next();
    depths.all(|depth| Some(depth) == first)
}

/// What is the same for all that an action removes.
struct Removal<'a> {
    target: &'a Target,
    allow_not_found: bool,
    cancel: &'a CancelToken,
}

impl Removal<'_> {
    /// Removes `paths`, which are all in one directory.
    fn siblings(&self, paths: &[RootedPath]) -> Result<(), FileOpError> {
        self.cancel.check()?;
        let Some(parent) = paths.first().and_then(RootedPath::parent) else {
            return Err(FileOpError::RemoveRoot);
        };
        let parent = self.target.resolve(&parent)?;
        let dir = match self.target.upper.dir(&parent) {
            Err(error) if error.is_not_found() && self.allow_not_found => return Ok(()),
            Err(error) => {
                let name = paths.first().and_then(RootedPath::file_name);
                let place = parent.join(name.unwrap_or_default());
                let operation = match error.is_not_found() {
                    true => "stat",
                    false => "unlinkat",
                };
                return Err(failed(operation, &place)(error));
            }
            Ok(dir) => dir,
        };
        for name in paths.iter().filter_map(RootedPath::file_name) {
            self.cancel.check()?;
            self.name(&dir, name)?;
        }
        Ok(())
    }

    fn name(&self, dir: &WriteDir, name: &[u8]) -> Result<(), FileOpError> {
        let place = dir.path().join(name);
        if !self.allow_not_found {
            self.check_found(dir, name, &place)?;
        }
        match dir.remove_while(name, self.cancel) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map_err(failed("unlinkat", &place)),
        }
    }

    /// Fails if there is nothing; a symlink that leads nowhere counts as nothing.
    fn check_found(
        &self,
        dir: &WriteDir,
        name: &[u8],
        place: &RootedPath,
    ) -> Result<(), FileOpError> {
        let missing = match dir.kind_of(name).map_err(failed("stat", place))? {
            None => return Err(FileOpError::system("stat", place, Errno::NOENT)),
            Some(FileKind::Symlink) => self.target.tree.lookup(place, Follow::Last).err(),
            Some(_) => return Ok(()),
        };
        match missing {
            Some(error) if error.is_not_found() => Err(failed("stat", place)(error)),
            _ => Ok(()),
        }
    }
}
