//! The end of a directory: whiteouts for what an opaque mark hid, the mark of whiteouts, and whether the
//! directory is only passed through.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use lamina_types::IoContext;
use lamina_types::Stat;

use super::Sealer;
use super::Tally;
use super::directory::Directory;
use super::directory::Open;
use crate::SnapshotError;
use crate::fdio;
use crate::metadata;
use crate::tree::Entry;
use crate::upper::make_whiteout;
use crate::xattrs::Target;

impl Sealer<'_> {
    /// Seals the directory itself, once all names in it are.
    pub(super) fn finish(
        &self,
        directory: &Directory,
        tally: &mut Tally,
    ) -> Result<(), SnapshotError> {
        let Directory { open, before, .. } = directory;
        tally.census.count(&open.path, b"", before);
        let mut whiteouts = directory.whiteouts.load(Ordering::Relaxed);
        if let Some(below) = open.below.as_ref().filter(|_| open.cut_off) {
            whiteouts |= self.hide_missing(directory, below, tally)?;
        }
        if self.is_implied(directory)? {
            tally.implied.insert(open.path.clone());
        }
        tally.has_whiteouts |= whiteouts;
        self.finish_on_disk(directory, whiteouts, tally)
    }

    /// Deletes what `below` shows and the upper does not have; says whether there was anything.
    fn hide_missing(
        &self,
        directory: &Directory,
        below: &Entry,
        tally: &mut Tally,
    ) -> Result<bool, SnapshotError> {
        let Open { path, dir, .. } = &directory.open;
        let names: HashSet<&Vec<u8>> = directory.names.iter().collect();
        let mut any = false;
        for name in below.read_dir_while(self.cancel)? {
            self.cancel.check()?;
            if !names.contains(&name) {
                make_whiteout(dir, &name).at(path)?;
                tally.census.count_whiteout(path, &name);
                any = true;
            }
        }
        Ok(any)
    }

    /// Says whether the directory is only passed through.
    fn is_implied(&self, directory: &Directory) -> Result<bool, SnapshotError> {
        let Open {
            path,
            dir,
            below,
            replaced,
            cut_off,
        } = &directory.open;
        match (self.upper.said_implied(path), below) {
            // A directory in the place of a file is a change of the layer's own.
            (Some(said), _) => Ok(said && !replaced),
            (None, Some(below)) if !cut_off && directory.may_be_implied(below) => {
                let owners = self.upper.store().owners();
                let (_, ours) = metadata::stat_of_opened(owners, &**dir).at(path)?;
                Ok(same_directory(&ours, below.stat()))
            }
            (None, _) => Ok(false),
        }
    }

    /// Leaves the mark of whiteouts and the time as it was.
    fn finish_on_disk(
        &self,
        directory: &Directory,
        whiteouts: bool,
        tally: &mut Tally,
    ) -> Result<(), SnapshotError> {
        let Open { path, dir, .. } = &directory.open;
        if whiteouts {
            let origin = self.upper.store().namespace().origin();
            let target = Target::opened(dir);
            target.set(origin.as_bytes(), b"").at(path)?;
        }
        let after = fdio::stat_fd(dir).at(path)?;
        if after.mtime_ns() != directory.before.mtime_ns() {
            metadata::set_mtime(dir, directory.before.mtime_ns()).at(path)?;
        }
        self.count(&after, tally);
        Ok(())
    }
}

/// Says whether two directories have equal metadata, times aside: those change with the content.
pub(crate) fn same_directory(a: &Stat, b: &Stat) -> bool {
    (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid) && a.xattrs == b.xattrs
}
