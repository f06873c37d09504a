//! One file, symlink or device put in its place.

use lamina_snapshotter::Entry;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::FileKind;
use rustix::io::Errno;

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

impl<'a> FileCopier<'a> {
    pub(crate) fn new(settings: &'a Settings, cancel: &'a CancelToken) -> Self {
        Self {
            settings,
            data: DataCopier::new(cancel),
        }
    }

    /// Makes `name`, which does not exist, in `dir` a copy of `source`.
    pub(crate) fn put(
        &self,
        source: &Entry,
        dir: &WriteDir,
        name: &[u8],
    ) -> Result<(), FileOpError> {
        let stat = source.stat();
        match stat.kind {
            FileKind::File if self.settings.keeps(stat) && self.link(source, dir, name)? => {
                return Ok(());
            }
            FileKind::File => {
                return self.put_data(source, dir, name, &self.settings.metadata(stat));
            }
            FileKind::Symlink => dir.symlink(name, &stat.link_target)?,
            // A socket means nothing without its process; its place is kept by an empty file.
            FileKind::Socket => drop(dir.create_file(name, 0o600)?),
            FileKind::Fifo | FileKind::CharDevice | FileKind::BlockDevice => {
                dir.make_node(name, stat)?;
            }
            FileKind::Directory => {
                let path = source.path().to_string();
                return Err(FileOpError::IsADirectory { path });
            }
        }
        Ok(metadata::set(dir, name, &self.settings.metadata(stat))?)
    }

    /// Copies data and sets `change`.
    pub(crate) fn put_data(
        &self,
        source: &Entry,
        dir: &WriteDir,
        name: &[u8],
        change: &MetadataChange,
    ) -> Result<(), FileOpError> {
        let from = source.open()?;
        let to = dir.create_file(name, 0o600)?;
        self.data.copy(&from, &to, &dir.path().join(name))?;
        metadata::set_file(dir, name, &to, change)?;
        Ok(dir.take_over_digest(&to, source)?)
    }

    /// Makes `name` a link to the sealed inode of `source`; says whether it could.
    fn link(&self, source: &Entry, dir: &WriteDir, name: &[u8]) -> Result<bool, FileOpError> {
        match dir.link_from(name, source) {
            Ok(()) => Ok(true),
            Err(error) if is_link_refused(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Says whether a link cannot be made although the name is free: it would show in a view, there are
/// too many, the file is on another file system, or the kernel protects it.
pub(crate) fn is_link_refused(error: &SnapshotError) -> bool {
    let refusals = [Errno::MLINK, Errno::XDEV, Errno::PERM, Errno::OPNOTSUPP];
    errno(error).is_some_and(|number| refusals.contains(&number))
}
