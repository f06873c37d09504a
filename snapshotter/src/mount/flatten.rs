//! Writing out what a stack shows as one tree.

use lamina_types::Stat;

use crate::ActiveLayer;
use crate::MetadataChange;
use crate::SnapshotError;
use crate::WriteDir;
use crate::copy::Placer;
use crate::copy::Times;
use crate::tree::Entry;

/// Writes the tree below `root` into `active`, whose lower is empty; files as `placer` places them.
pub(super) fn flatten(
    root: Entry,
    active: &ActiveLayer,
    placer: Placer,
) -> Result<(), SnapshotError> {
    let top = copy_root(active, &root)?;
    let mut flattener = Flattener::new(placer);
    flattener.fill(root, top)?;
    flattener.run()?.restore(&active.writer())
}

/// Copies directory by directory; those that wait are looked up late, since there may be very many.
pub(super) struct Flattener {
    placer: Placer,
    times: Times,
    todo: Vec<(Entry, WriteDir, Vec<u8>)>,
}

impl Flattener {
    fn new(placer: Placer) -> Self {
        Self {
            placer,
            times: Times::default(),
            todo: Vec::new(),
        }
    }

    fn run(mut self) -> Result<Times, SnapshotError> {
        while let Some((from, to, name)) = self.todo.pop() {
            let child = from.child(&name)?;
            let made = make_like(&to, &name, child.stat())?;
            self.fill(child, made)?;
        }
        Ok(self.times)
    }

    fn fill(&mut self, from: Entry, to: WriteDir) -> Result<(), SnapshotError> {
        self.times.note(&to, from.stat());
        for name in from.read_dir()? {
            let child = from.child(&name)?;
            match child.stat().is_dir() {
                true => self.todo.push((from.clone(), to.clone(), name)),
                false => self.placer.place(&to, &name, &child)?,
            }
        }
        Ok(())
    }
}

/// Makes a directory with the metadata of `stat`, times aside.
pub(super) fn make_like(
    parent: &WriteDir,
    name: &[u8],
    stat: &Stat,
) -> Result<WriteDir, SnapshotError> {
    let made = parent.make_dir(name, stat.mode)?;
    made.set_own_metadata(&MetadataChange::all_of(stat))?;
    Ok(made)
}

/// Gives the root of `active` the metadata of `root`.
pub(super) fn copy_root(active: &ActiveLayer, root: &Entry) -> Result<WriteDir, SnapshotError> {
    let dir = active.writer().root()?;
    dir.set_own_metadata(&MetadataChange::all_of(root.stat()))?;
    Ok(dir)
}
