//! Putting what one tree shows into a layer that is being made: by link, else by copy.

use std::collections::HashMap;
use std::collections::HashSet;

use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use lamina_types::Stat;
use rustix::io::Errno;

use crate::MetadataChange;
use crate::SnapshotError;
use crate::Upper;
use crate::WriteDir;
use crate::fdio;
use crate::tree::Entry;
use crate::tree::Follow;
use crate::tree::Origin;

/// Places files, keeping hard links among them.
#[derive(Default)]
pub(crate) struct Placer {
    /// Nothing may be linked.
    copies_all: bool,
    /// Inodes that must be copied although linking is possible.
    copied: HashSet<u64>,
    /// Where an inode with several names was put first.
    placed: HashMap<Origin, RootedPath>,
}

impl Placer {
    /// Links whatever can be linked but the inodes in `copied`.
    pub(crate) fn copying(copied: HashSet<u64>) -> Self {
        Self {
            copied,
            ..Self::default()
        }
    }

    /// Links nothing: for files that are written to in place. Names that are hard links of each other
    /// stay so.
    pub(crate) fn copying_all() -> Self {
        Self {
            copies_all: true,
            ..Self::default()
        }
    }

    /// Makes `entry`, which is not a directory, the entry `name` of `dir`.
    pub(crate) fn place(
        &mut self,
        dir: &WriteDir,
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), SnapshotError> {
        // With its layer: an inode that two layers share is two files.
        let identity = entry.origin();
        if entry.stat().nlink < 2 {
            return self.place_first(dir, name, entry);
        }
        if let Some(path) = self.placed.get(&identity) {
            let first = dir.tree().lookup(path, Follow::Parents)?;
            return dir.link_from(name, &first);
        }
        self.place_first(dir, name, entry)?;
        self.placed.insert(identity, dir.path().join(name));
        Ok(())
    }

    fn place_first(&self, dir: &WriteDir, name: &[u8], entry: &Entry) -> Result<(), SnapshotError> {
        if self.copies_all || self.copied.contains(&entry.origin().inode) {
            return copy(dir, name, entry);
        }
        match dir.link_from(name, entry) {
            Err(error) if is_unlinkable(&error) => copy(dir, name, entry),
            linked => linked,
        }
    }
}

/// Says whether a copy may succeed where a link failed so.
fn is_unlinkable(error: &SnapshotError) -> bool {
    let reasons = [Errno::XDEV, Errno::MLINK, Errno::PERM, Errno::ACCESS];
    error.errno().is_some_and(|number| {
        let mut reasons = reasons.iter();
        reasons.any(|reason| reason.raw_os_error() == number)
    })
}

fn copy(dir: &WriteDir, name: &[u8], entry: &Entry) -> Result<(), SnapshotError> {
    let stat = entry.stat();
    let change = MetadataChange::all_of(stat);
    match stat.kind {
        FileKind::File => {
            let file = dir.create_file(name, 0o600)?;
            fdio::copy_data(&entry.open()?, &file).at(entry.path())?;
            dir.set_file_metadata(&file, &change)?;
            return dir.take_over_digest(&file, entry);
        }
        FileKind::Symlink => dir.symlink(name, &stat.link_target)?,
        _ => dir.make_node(name, stat)?,
    }
    dir.set_metadata(name, &change)
}

/// Directories whose modification time is set once nothing is put into them any more.
#[derive(Default)]
pub(crate) struct Times(Vec<(RootedPath, i128)>);

impl Times {
    /// Notes a directory that was just made.
    pub(crate) fn note(&mut self, dir: &WriteDir, stat: &Stat) {
        self.0.push((dir.path().clone(), stat.mtime_ns));
    }

    /// Sets the times of the directories, which are in `upper`.
    pub(crate) fn restore(mut self, upper: &Upper) -> Result<(), SnapshotError> {
        self.0.sort();
        let mut dirs = Dirs::of(upper)?;
        for (path, mtime_ns) in self.0 {
            dirs.open(&path)?.restore_own_mtime(mtime_ns)?;
        }
        Ok(())
    }
}

/// Opens directories of the upper by path; those that come in order cost one step each, because the
/// last one is kept open and with it all that lead to it.
pub(crate) struct Dirs {
    root: WriteDir,
    last: WriteDir,
}

impl Dirs {
    pub(crate) fn of(upper: &Upper) -> Result<Self, SnapshotError> {
        let root = upper.root()?;
        let last = root.clone();
        Ok(Self { root, last })
    }

    pub(crate) fn open(&mut self, path: &RootedPath) -> Result<WriteDir, SnapshotError> {
        let mut dir = self.root.clone();
        for name in path.components() {
            dir = dir.open_dir(name)?;
        }
        self.last = dir;
        Ok(self.last.clone())
    }
}
