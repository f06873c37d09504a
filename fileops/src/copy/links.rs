//! Hard links within one copy (row FIL-19).

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_snapshotter::Entry;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::Origin;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::Upper;
use lamina_snapshotter::WriteDir;
use lamina_types::RootedPath;

use super::file::FileCopier;
use super::file::is_link_refused;
use super::node::Finish;
use crate::FileOpError;
use crate::metadata;

/// The files of one copy that have several names, and what waits for their first ones.
#[derive(Default)]
pub(crate) struct Links(Mutex<State>);

#[derive(Default)]
struct State {
    /// The name under which each was copied.
    first: HashMap<Origin, Name>,
    /// The others, each with the first.
    further: Vec<(Name, Name)>,
    /// Directories that get further names, and are finished after that.
    directories: Vec<(RootedPath, MetadataChange)>,
}

/// A directory of the target, and a name in it.
type Name = (RootedPath, Vec<u8>);

impl Links {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether `source` was met under another name; then `name` in `dir` is made at the end.
    pub(crate) fn is_further_name(&self, source: &Entry, dir: &WriteDir, name: &[u8]) -> bool {
        if !source.may_have_further_names() {
            return false;
        }
        let place = (dir.path().clone(), name.to_vec());
        let mut state = self.lock();
        let first = match state.first.entry(source.origin()) {
            Slot::Vacant(slot) => {
                slot.insert(place);
                return false;
            }
            Slot::Occupied(slot) => slot.get().clone(),
        };
        state.further.push((place, first));
        true
    }

    /// Puts off the end of a directory until its further names are made.
    pub(crate) fn finish_later(&self, finish: Finish) {
        let directory = (finish.path().clone(), finish.change);
        self.lock().directories.push(directory);
    }

    /// Makes the further names, then finishes the directories that waited, innermost first.
    pub(crate) fn finish(self, upper: &Upper, files: &FileCopier<'_>) -> Result<(), FileOpError> {
        let state = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut further = state.further;
        further.sort();
        for (place, first) in &further {
            files.check_cancel()?;
            link(upper, place, first, files)?;
        }
        let mut directories = state.directories;
        directories.sort_by(|(a, _), (b, _)| b.cmp(a));
        for (path, change) in directories {
            files.check_cancel()?;
            metadata::set_own(&upper.dir(&path)?, &change)?;
        }
        Ok(())
    }
}

/// Links `place` to `first`; where the file system refuses, copies it.
fn link(
    upper: &Upper,
    place: &Name,
    first: &Name,
    files: &FileCopier<'_>,
) -> Result<(), FileOpError> {
    let first = child(upper, first)?;
    let dir = upper.dir(&place.0)?;
    match dir.link_from(&place.1, &first) {
        Err(error) if is_link_refused(&error) => {
            let change = MetadataChange::all_of(first.stat());
            files.put_data(&first, &dir, &place.1, change)
        }
        other => Ok(other?),
    }
}

fn child(upper: &Upper, (dir, name): &Name) -> Result<Entry, SnapshotError> {
    let found = upper.dir(dir)?.lookup(name)?;
    found.ok_or_else(|| not_found(&dir.join(name)))
}

fn not_found(path: &RootedPath) -> SnapshotError {
    SnapshotError::Io(lamina_types::PathError {
        path: path.to_string(),
        source: rustix::io::Errno::NOENT.into(),
    })
}
