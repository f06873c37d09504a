//! Making one entry of an archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use lamina_types::Stat;
use rustix::io::Errno;

use super::fill::Filling;
use super::metadata::Made;
use super::metadata::bounded;
use super::metadata::set_metadata;
use super::place::Missing;
use super::place::Places;
use crate::ContentError;
use crate::archive::Entry;
use crate::archive::EntryKind;
use crate::archive::TarReader;

/// Bytes between two looks at the cancel token.
const CHUNK: usize = 1 << 18;

/// What differs between the users of the unpacker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// Missing parents belong to the layers below, wherever those have them. Extended attributes
    /// are lost only where the file system has none, or the kind of file cannot have them.
    Layer,
    /// Missing parents are made as directories like others. Extended attributes that are refused
    /// are left out.
    Archive,
}

/// Makes entries below one directory.
pub(super) struct Extractor<'a> {
    places: Places,
    rules: Rules,
    cancel: &'a CancelToken,
    buffer: Vec<u8>,
    filling: Filling,
    /// Directories and the times that they get when nothing is written into them any more.
    directory_times: Vec<(Vec<u8>, i128)>,
}

impl<'a> Extractor<'a> {
    /// Starts below `root`.
    pub(super) fn new(root: WriteDir, rules: Rules, cancel: &'a CancelToken) -> Self {
        Self {
            places: Places::new(root, rules),
            rules,
            cancel,
            buffer: vec![0; CHUNK],
            filling: Filling::default(),
            directory_times: Vec::new(),
        }
    }

    /// Returns the directory and the name for `path`, parents made; `None` for the root.
    pub(super) fn place(
        &mut self,
        path: &[u8],
    ) -> Result<Option<(WriteDir, Vec<u8>)>, ContentError> {
        let missing = match self.rules {
            Rules::Layer => Missing::Imply,
            Rules::Archive => Missing::Make,
        };
        self.places.of(path, missing)
    }

    /// Returns the parents that were made since the last call.
    pub(super) fn take_made(&mut self) -> Vec<RootedPath> {
        self.places.take_made()
    }

    /// Removes `name` with all below it, if it is there.
    pub(super) fn remove(&mut self, place: &WriteDir, name: &[u8]) -> Result<(), ContentError> {
        self.places.forget();
        match place.remove(name) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Hides `name` of any layer below.
    pub(super) fn whiteout(&mut self, place: &WriteDir, name: &[u8]) -> Result<(), ContentError> {
        self.places.forget();
        Ok(place.whiteout(name)?)
    }

    /// Makes the entry at its place. What is there goes, except a directory where the entry is
    /// one too: they merge.
    pub(super) fn make<R: Read>(
        &mut self,
        entry: &Entry,
        place: &WriteDir,
        name: &[u8],
        tar: &mut TarReader<R>,
    ) -> Result<(), ContentError> {
        let merges = self.clear_place(entry, place, name)?;
        let mut made_file = None;
        match entry.kind {
            EntryKind::Directory if merges => {}
            EntryKind::Directory => drop(place.make_dir(name, entry.mode)?),
            EntryKind::File => {
                let file = place.create_file(name, entry.mode)?;
                if Filling::takes(tar) {
                    self.filling.add((place, name), file, entry, tar)?;
                    return self.fill_if(Filling::is_full);
                }
                self.write_data(&file, entry, tar)?;
                made_file = Some(file);
            }
            EntryKind::Symlink => place.symlink(name, &entry.link)?,
            EntryKind::HardLink => {
                self.fill_if(|_| true)?;
                self.link(entry, place, name)?;
            }
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                let made = place.make_node(name, &node_stat(entry));
                made.map_err(|error| device_refused(entry, error))?;
            }
        }
        if entry.kind == EntryKind::Directory {
            let time = bounded(entry.mtime_ns);
            self.directory_times.push((entry.path.clone(), time));
        }
        let made = Made {
            place,
            name,
            file: made_file.as_ref(),
        };
        set_metadata(self.rules, entry, &made)
    }

    /// Writes the files that wait, if `condition` says so.
    fn fill_if(&mut self, condition: impl Fn(&Filling) -> bool) -> Result<(), ContentError> {
        match condition(&self.filling) {
            true => self.filling.finish(self.rules, self.cancel),
            false => Ok(()),
        }
    }

    pub(super) fn check_cancel(&self) -> Result<(), ContentError> {
        Ok(self.cancel.check()?)
    }

    /// Writes what waits, and gives directories their times.
    pub(super) fn finish(mut self) -> Result<(), ContentError> {
        self.fill_if(|_| true)?;
        for (path, time) in std::mem::take(&mut self.directory_times) {
            self.cancel.check()?;
            // A later entry may have removed or replaced it, or a parent of it.
            let (place, name) = match self.places.of(&path, Missing::Fail) {
                Ok(Some(found)) => found,
                Ok(None) | Err(ContentError::BadEntry { .. }) => continue,
                Err(error) => return Err(error),
            };
            let found = place.lookup(&name)?;
            if found.is_some_and(|found| found.stat().is_dir()) {
                place.set_metadata(
                    &name,
                    &MetadataChange {
                        mtime_ns: Some(time),
                        ..MetadataChange::default()
                    },
                )?;
            }
        }
        Ok(())
    }

    /// Says whether the entry merges with a directory that is there.
    fn clear_place(
        &mut self,
        entry: &Entry,
        place: &WriteDir,
        name: &[u8],
    ) -> Result<bool, ContentError> {
        let Some(found) = place.lookup(name)? else {
            return Ok(false);
        };
        if found.stat().is_dir() && entry.kind == EntryKind::Directory {
            return Ok(true);
        }
        self.remove(place, name)?;
        Ok(false)
    }

    fn write_data<R: Read>(
        &mut self,
        file: &File,
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<(), ContentError> {
        let path = || String::from_utf8_lossy(&entry.path).into_owned();
        let (runs, has_holes) = tar.runs();
        for (start, length) in runs {
            let (mut at, end) = (start, start + length);
            while at < end {
                self.cancel.check()?;
                let wanted = CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK));
                let count = tar.read_data(&mut self.buffer[..wanted])?;
                file.write_all_at(&self.buffer[..count], at).at(path())?;
                at += count as u64;
            }
        }
        if has_holes {
            file.set_len(entry.size).at(path())?;
        }
        Ok(())
    }

    /// Makes a further name of a file below the same root; the target's parents may be symlinks,
    /// it itself is not followed.
    fn link(&mut self, entry: &Entry, place: &WriteDir, name: &[u8]) -> Result<(), ContentError> {
        let target = String::from_utf8_lossy(&entry.link);
        let missing = || {
            ContentError::entry(
                &entry.path,
                format!("hard link to {target:?}: no such file"),
            )
        };
        let found = self.places.of(&entry.link, Missing::Fail);
        let found = found.map_err(|error| match error {
            ContentError::BadEntry { reason, .. } => {
                ContentError::entry(&entry.path, format!("hard link to {target:?}: {reason}"))
            }
            other => other,
        })?;
        let (folder, target_name) = found.ok_or_else(missing)?;
        let mut found = folder.lookup(&target_name)?.ok_or_else(missing)?;
        if found.stat().is_dir() {
            let reason = "hard links to directories are not allowed";
            return Err(ContentError::entry(&entry.path, reason));
        }
        if found.origin().layer.is_some() {
            // Setting what it has already brings it up into this layer.
            let stat = found.stat();
            let same = MetadataChange {
                owner: Some((stat.uid, stat.gid)),
                ..MetadataChange::default()
            };
            folder.set_metadata(&target_name, &same)?;
            found = folder.lookup(&target_name)?.ok_or_else(missing)?;
        }
        place.link(name, &found.path_fd()?)?;
        Ok(())
    }
}

/// Names the entry where nodes cannot be made: in a user namespace, and what would be a deletion.
fn device_refused(entry: &Entry, error: SnapshotError) -> ContentError {
    let is_device = matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice);
    let invalid = error.errno() == Some(Errno::INVAL.raw_os_error());
    match error {
        SnapshotError::Device { .. } if is_device => {
            ContentError::entry(&entry.path, "device nodes cannot be made here")
        }
        _ if is_device && invalid => ContentError::entry(&entry.path, "no such device can be made"),
        error => error.into(),
    }
}

fn node_stat(entry: &Entry) -> Stat {
    Stat {
        kind: match entry.kind {
            EntryKind::CharDevice => FileKind::CharDevice,
            EntryKind::BlockDevice => FileKind::BlockDevice,
            _ => FileKind::Fifo,
        },
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        size: 0,
        mtime_ns: entry.mtime_ns,
        nlink: 1,
        link_target: Vec::new(),
        device: entry.device,
        xattrs: BTreeMap::new(),
    }
}
