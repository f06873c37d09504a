//! One file, symlink or device put in its place.

use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use lamina_snapshotter::Entry;
use lamina_snapshotter::Linker;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::FileKind;
use rustix::io::Errno;

use super::data::Data;
use super::data::DataCopier;
use super::settings::Settings;
use crate::FileOpError;
use crate::metadata;
use crate::target::errno;

/// Copies single files; shared by all threads of a copy.
pub(crate) struct FileCopier<'a> {
    settings: &'a Settings,
    data: DataCopier<'a>,
}

/// A file that is made but empty, and so large that several threads copy its data.
pub(crate) struct LargeFile {
    data: Data,
    change: MetadataChange,
    dir: WriteDir,
    name: Vec<u8>,
    source: Entry,
    /// Ranges that are not copied yet.
    left: AtomicUsize,
}

impl<'a> FileCopier<'a> {
    pub(crate) fn new(settings: &'a Settings, cancel: &'a CancelToken) -> Self {
        Self {
            settings,
            data: DataCopier::new(cancel),
        }
    }

    pub(crate) fn check_cancel(&self) -> Result<(), FileOpError> {
        Ok(self.data.cancel.check()?)
    }

    /// Makes `name`, which does not exist, in `dir` a copy of `source`; a large file is returned, for
    /// its ranges to be copied.
    pub(crate) fn put(
        &self,
        source: &Entry,
        dir: &WriteDir,
        name: &[u8],
    ) -> Result<Option<LargeFile>, FileOpError> {
        let stat = source.stat();
        match stat.kind {
            FileKind::File if self.settings.keeps(stat) && self.link(source, dir, name)? => {
                return Ok(None);
            }
            FileKind::File => {
                return self.begin(source, dir, name, self.settings.metadata(stat));
            }
            FileKind::Symlink => dir.symlink(name, &stat.link_target)?,
            FileKind::Fifo | FileKind::Socket | FileKind::CharDevice | FileKind::BlockDevice => {
                dir.make_node(name, stat)?;
            }
            FileKind::Directory => {
                let path = source.path().to_string();
                return Err(FileOpError::IsADirectory { path });
            }
        }
        metadata::set(dir, name, &self.settings.metadata(stat))?;
        Ok(None)
    }

    /// Copies data and sets `change`.
    pub(crate) fn put_data(
        &self,
        source: &Entry,
        dir: &WriteDir,
        name: &[u8],
        change: MetadataChange,
    ) -> Result<(), FileOpError> {
        let Some(large) = self.begin(source, dir, name, change)? else {
            return Ok(());
        };
        for range in large.ranges() {
            self.copy_range(&large, range)?;
        }
        Ok(())
    }

    /// Makes the file, and copies its data unless there is work for several threads.
    fn begin(
        &self,
        source: &Entry,
        dir: &WriteDir,
        name: &[u8],
        change: MetadataChange,
    ) -> Result<Option<LargeFile>, FileOpError> {
        let to = dir.create_file(name, 0o600)?;
        let data = self.data.begin(source, to, dir.path().join(name))?;
        let mut ranges = data.ranges();
        if ranges.len() > 1 {
            let (left, name) = (AtomicUsize::new(ranges.len()), name.to_vec());
            let dir = dir.clone();
            return Ok(Some(LargeFile {
                data,
                change,
                dir,
                name,
                source: source.clone(),
                left,
            }));
        }
        if let Some(all) = ranges.next() {
            self.data.copy(&data, all)?;
        }
        metadata::set_file(dir, name, &data.to, &change)?;
        take_over_digest(dir, &data, source, &change)?;
        Ok(None)
    }

    /// Copies a range of a large file; the last one, whichever it is, sets the metadata.
    pub(crate) fn copy_range(
        &self,
        large: &LargeFile,
        range: Range<u64>,
    ) -> Result<(), FileOpError> {
        self.data.copy(&large.data, range)?;
        if large.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            metadata::set_file(&large.dir, &large.name, &large.data.to, &large.change)?;
            take_over_digest(&large.dir, &large.data, &large.source, &large.change)?;
        }
        Ok(())
    }

    /// Makes `name` a link to the sealed inode of `source`; says whether it could.
    fn link(&self, source: &Entry, dir: &WriteDir, name: &[u8]) -> Result<bool, FileOpError> {
        refusal_as_false(dir.link_from(name, source).map(|()| true))
    }

    /// As [`FileCopier::put`] for a file that nothing but its name is known of; says whether it could.
    pub(crate) fn link_unseen(&self, linker: &Linker, name: &[u8]) -> Result<bool, FileOpError> {
        refusal_as_false(linker.link(name))
    }
}

impl LargeFile {
    /// Returns the ranges to copy, in any order.
    pub(crate) fn ranges(&self) -> impl ExactSizeIterator<Item = Range<u64>> + use<> {
        self.data.ranges()
    }
}

/// Takes over the digest of `source`, unless it cannot be that of a copy with `change`.
fn take_over_digest(
    dir: &WriteDir,
    data: &Data,
    source: &Entry,
    change: &MetadataChange,
) -> Result<(), SnapshotError> {
    let stat = source.stat();
    let counts_alike = change
        .owner
        .is_none_or(|owner| owner == (stat.uid, stat.gid))
        && change.mode.is_none_or(|mode| mode == stat.mode);
    match counts_alike {
        true => dir.take_over_digest(&data.to, source),
        false => Ok(()),
    }
}

fn refusal_as_false(linked: Result<bool, SnapshotError>) -> Result<bool, FileOpError> {
    match linked {
        Err(error) if is_link_refused(&error) => Ok(false),
        linked => Ok(linked?),
    }
}

/// Says whether a link cannot be made although the name is free: it would show in a view, there are
/// too many, the file is on another file system, or the kernel protects it.
pub(crate) fn is_link_refused(error: &SnapshotError) -> bool {
    let refusals = [Errno::MLINK, Errno::XDEV, Errno::PERM, Errno::OPNOTSUPP];
    errno(error).is_some_and(|number| refusals.contains(&number))
}
