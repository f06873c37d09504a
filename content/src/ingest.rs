//! Writing one blob.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use lamina_types::Digest;
use lamina_types::IoContext;
use lamina_types::PathError;
use lamina_types::Sha256Hasher;

use crate::ContentError;
use crate::ContentStore;

/// A blob being written to a temporary file and hashed on the way; dropped without
/// [`commit`](Self::commit), it leaves nothing.
#[must_use]
pub struct Ingest {
    store: ContentStore,
    path: PathBuf,
    file: File,
    hasher: Sha256Hasher,
    written: u64,
    /// Moved into place: there is no temporary file any more.
    placed: bool,
}

impl Ingest {
    pub(crate) fn start(store: ContentStore) -> Result<Self, ContentError> {
        let number = store.next_ingest().fetch_add(1, Ordering::Relaxed);
        let path = store.dir().join("ingest").join(number.to_string());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .at(path.display())?;
        Ok(Self {
            store,
            path,
            file,
            hasher: Sha256Hasher::new(),
            written: 0,
            placed: false,
        })
    }

    /// Returns the bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Appends `data`, with an error that names the file.
    ///
    /// # Errors
    /// If it cannot be written, such as on a full disk.
    pub fn append(&mut self, data: &[u8]) -> Result<(), ContentError> {
        self.write_all(data)
            .at(self.path.display())
            .map_err(ContentError::Io)
    }

    /// Flushes the blob to disk and puts it into place; returns its digest and length. A loss of power
    /// may take it away again, as a whole, until an image that needs it gets a name.
    ///
    /// # Errors
    /// [`ContentError::WrongDigest`] if it is not `expected`. On any error nothing is left.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<(Digest, u64), ContentError> {
        let found = std::mem::take(&mut self.hasher).finish();
        if let Some(wanted) = expected.filter(|wanted| **wanted != found) {
            return Err(ContentError::WrongDigest {
                wanted: *wanted,
                found,
            });
        }
        let target = self.store.blob_path(&found);
        let size = self.written;
        if !target.is_file() {
            self.place(&target)?;
        }
        Ok((found, size))
    }

    /// Puts the file at `target` instead of what is there, for good.
    pub(crate) fn replace(mut self, target: &Path) -> Result<(), ContentError> {
        self.place(target)?;
        Ok(sync_folder(target.parent().unwrap_or(target))?)
    }

    fn place(&mut self, target: &Path) -> Result<(), PathError> {
        self.file.sync_data().at(self.path.display())?;
        std::fs::rename(&self.path, target).at(target.display())?;
        self.placed = true;
        Ok(())
    }
}

/// Waits until the names in a folder are on disk.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), PathError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .at(folder.display())
}

impl Write for Ingest {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.file.write(data)?;
        self.hasher.update(&data[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if !self.placed {
            // Nobody can act on a failure here; the next start sweeps the folder.
            drop(std::fs::remove_file(&self.path));
        }
    }
}
