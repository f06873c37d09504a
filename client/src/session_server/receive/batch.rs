//! What is written in one go.

use lamina_session::FileEntry;
use lamina_session::host::Destination;
use lamina_types::CancelToken;
use rayon::iter::IntoParallelIterator as _;
use rayon::iter::ParallelIterator as _;

use super::super::error::ServeError;
use super::write;
use super::write::OpenFile;

/// Entries of one batch.
const ENTRIES: usize = 256;

/// Data of one batch.
const BYTES: usize = 1 << 20;

/// Entries that came and are not made yet, so that threads are asked once for many of them.
#[derive(Default)]
pub(super) struct Batch {
    directories: Vec<Vec<u8>>,
    /// Symlinks, pipes and devices.
    specials: Vec<FileEntry>,
    /// Files all of whose data is there.
    files: Vec<OpenFile>,
    /// Data that `files` hold.
    bytes: usize,
}

impl Batch {
    pub(super) fn directory(&mut self, path: Vec<u8>) {
        self.directories.push(path);
    }

    pub(super) fn special(&mut self, entry: FileEntry) {
        self.specials.push(entry);
    }

    pub(super) fn file(&mut self, file: OpenFile) {
        self.bytes += file.buffered_bytes();
        self.files.push(file);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says whether it is worth writing, and should not grow.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= ENTRIES || self.bytes >= BYTES
    }

    fn len(&self) -> usize {
        self.directories.len() + self.specials.len() + self.files.len()
    }

    /// Makes directories in their order, then all else side by side: entries have no names in
    /// common.
    pub(super) fn write(
        self,
        destination: &Destination,
        cancel: &CancelToken,
    ) -> Result<(), ServeError> {
        for path in &self.directories {
            cancel.check()?;
            destination.make_directory(path)?;
        }
        let specials = self.specials.into_par_iter().map(|entry| {
            cancel.check()?;
            Ok(write::special(&entry, destination)?)
        });
        let files = self.files.into_par_iter().map(|file| {
            cancel.check()?;
            Ok(file.finish(destination)?)
        });
        specials
            .chain(files)
            .collect::<Vec<_>>()
            .into_iter()
            .collect()
    }
}
