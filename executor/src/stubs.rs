//! Places for mounts and the working directory in a step's root (rows EXC-03 and EXC-10).
//!
//! They are made in the active layer before it is mounted. What was made only to be mounted on (a
//! stub) is removed again afterwards, together with the copies of lower directories that served
//! only to hold it, so that the layer has what the step did and nothing else.
//!
//! Removal never looks a path up again: a stub is remembered as a descriptor of the upper directory
//! that holds it, a name, and the inode that was made, and is removed only if all three still fit
//! and it is empty. Directories get their modification times back.

mod remembered;
mod upper;

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Follow;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::WriteDir;
use lamina_types::RootedPath;
use lamina_types::Stat;

use crate::ExecError;
use crate::wire::Identity;
use remembered::Remembered;

/// What is to be made at a place that lacks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stub {
    Directory,
    File,
}

/// The stubs of one step, and the copied directories that hold them.
#[derive(Default)]
pub(crate) struct Stubs {
    /// Parents first.
    made: Vec<Remembered>,
}

impl Stubs {
    /// Makes what `path`, resolved in the layer, lacks as a place for a mount. Parents that have to
    /// be made too stay for good unless `with_parents`.
    pub(crate) fn make(
        &mut self,
        layer: &ActiveLayer,
        path: &RootedPath,
        stub: Stub,
        with_parents: bool,
    ) -> Result<(), ExecError> {
        let there = existing(layer, path)?;
        let names: Vec<&[u8]> = path.components().collect();
        // The root is the first that exists.
        if there.len() > names.len() {
            return Ok(());
        }
        let copied_before = upper::depth(layer, path)?;
        make_in_view(layer, &names, stub)?;
        let dirs = upper::open_chain(layer, &names[..names.len() - 1])?;
        for (dir, stat) in dirs.iter().zip(&there) {
            upper::set_mtime(dir, stat.mtime_ns)?;
        }
        for (index, name) in names.iter().enumerate().skip(copied_before) {
            let is_copy = there.get(index + 1);
            let is_stub = index + 1 == names.len() || with_parents;
            if is_copy.is_some() || is_stub {
                let original = is_copy.cloned();
                self.made
                    .push(Remembered::new(&dirs[index], name, original)?);
            }
        }
        Ok(())
    }

    /// Removes the stubs that are still what they were.
    pub(crate) fn remove(self) -> Result<(), ExecError> {
        self.made.into_iter().rev().try_for_each(Remembered::remove)
    }
}

/// Makes the working directory, owned by the step's user, if it is missing (row EXC-03).
pub(crate) fn make_cwd(
    layer: &ActiveLayer,
    cwd: &RootedPath,
    user: &Identity,
) -> Result<(), ExecError> {
    let owner = MetadataChange {
        owner: Some((user.uid, user.gid)),
        ..MetadataChange::default()
    };
    let mut dir = layer.writer().root()?;
    for name in cwd.components() {
        if dir.lookup(name)?.is_some() {
            dir = dir.open_dir(name)?;
            continue;
        }
        dir = dir.make_dir(name, 0o755)?;
        if (user.uid, user.gid) != (0, 0) {
            dir.set_own_metadata(&owner)?;
        }
    }
    Ok(())
}

/// Describes the root and the components of `path` that exist in the layer's view.
fn existing(layer: &ActiveLayer, path: &RootedPath) -> Result<Vec<Stat>, ExecError> {
    let tree = layer.tree();
    let mut found = vec![tree.root()?.stat().clone()];
    let mut place = RootedPath::root();
    for name in path.components() {
        place = place.join(name);
        match tree.lookup(&place, Follow::Parents) {
            Ok(entry) => found.push(entry.stat().clone()),
            Err(error) if error.is_not_found() => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

fn make_in_view(layer: &ActiveLayer, names: &[&[u8]], stub: Stub) -> Result<(), ExecError> {
    let Some((last, parents)) = names.split_last() else {
        return Ok(());
    };
    let mut dir: WriteDir = layer.writer().root()?;
    for name in parents {
        dir = match dir.lookup(name)? {
            Some(_) => dir.open_dir(name)?,
            None => dir.make_dir(name, 0o755)?,
        };
    }
    match stub {
        Stub::Directory => drop(dir.make_dir(last, 0o755)?),
        Stub::File => drop(dir.create_file(last, 0o644)?),
    }
    Ok(())
}
