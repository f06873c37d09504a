//! Making a layer show what a process made of a copy of it.
//!
//! The layer's tree is the state before, the copy the state after, and only what differs is written, so
//! that the layer gets what an overlay mount would have left in it.

use lamina_types::CancelToken;

use super::flatten::make_like;
use crate::ActiveLayer;
use crate::MetadataChange;
use crate::SnapshotError;
use crate::WriteDir;
use crate::compare;
use crate::copy::Placer;
use crate::copy::Times;
use crate::seal::same_directory;
use crate::tree::Entry;

/// Changes `layer` until it shows the tree of `copy`.
pub(super) fn absorb(copy: &ActiveLayer, layer: &ActiveLayer) -> Result<(), SnapshotError> {
    let mut absorber = Absorber {
        placer: Placer::default(),
        times: Times::default(),
        todo: Vec::new(),
    };
    absorber.visit(&copy.tree().root()?, &layer.writer().root()?)?;
    while let Some((from, to, name)) = absorber.todo.pop() {
        absorber.visit(&from.child(&name)?, &to.open_dir(&name)?)?;
    }
    absorber.times.restore(&layer.writer())
}

struct Absorber {
    placer: Placer,
    times: Times,
    /// Directories that both have; opened late, since there may be very many.
    todo: Vec<(Entry, WriteDir, Vec<u8>)>,
}

impl Absorber {
    fn visit(&mut self, after: &Entry, dir: &WriteDir) -> Result<(), SnapshotError> {
        let before = dir.entry()?;
        if !same_directory(before.stat(), after.stat()) {
            dir.set_own_metadata(&MetadataChange::all_of(after.stat()))?;
        }
        let names = after.read_dir()?;
        let mut changed = before.stat().mtime_ns != after.stat().mtime_ns;
        for name in before.read_dir()? {
            if names.binary_search(&name).is_err() {
                dir.remove(&name)?;
                changed = true;
            }
        }
        for name in names {
            changed |= self.visit_name(after, dir, name)?;
        }
        if changed {
            self.times.note(dir, after.stat());
        }
        Ok(())
    }

    /// Makes one name of `dir` what it is in the copy; says whether it was something else.
    fn visit_name(
        &mut self,
        parent: &Entry,
        dir: &WriteDir,
        name: Vec<u8>,
    ) -> Result<bool, SnapshotError> {
        let after = parent.child(&name)?;
        let before = dir.lookup(&name)?;
        let is_dir = after.stat().is_dir();
        let mut changed = false;
        match before {
            Some(before) if is_dir && before.stat().is_dir() => {}
            Some(before) if !is_dir && is_same(&before, &after)? => return Ok(false),
            before => {
                changed = true;
                if before.is_some() {
                    dir.remove(&name)?;
                }
                if !is_dir {
                    self.placer.place(dir, &name, &after)?;
                    return Ok(true);
                }
                drop(make_like(dir, &name, after.stat())?);
            }
        }
        self.todo.push((parent.clone(), dir.clone(), name));
        Ok(changed)
    }
}

/// Says whether a file is what it was, under as many names.
fn is_same(before: &Entry, after: &Entry) -> Result<bool, SnapshotError> {
    let (old, new) = (before.stat(), after.stat());
    if old.is_dir() || (old.nlink != new.nlink && new.nlink > 1) {
        return Ok(false);
    }
    compare::same_file(before, after, &CancelToken::new())
}
