//! Logs and errors of finished builds, by digest, apart from the blobs of images (row CTL-24).
//!
//! ```text
//! history/blobs/<hex>   a blob, whole
//!        /live/<n>      being written; swept at start
//! ```

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use lamina_types::Digest;
use lamina_types::IoContext;
use lamina_types::PathError;

/// The folder `history`.
pub(crate) struct HistoryBlobs {
    dir: PathBuf,
    next: AtomicU64,
}

impl HistoryBlobs {
    /// Opens the folder and removes what an earlier process left unfinished.
    pub(crate) fn open(dir: &Path) -> Result<Self, PathError> {
        let blobs = Self {
            dir: dir.to_owned(),
            next: AtomicU64::new(0),
        };
        make_dir(&dir.join("blobs"))?;
        let live = dir.join("live");
        make_dir(&live)?;
        for file in fs::read_dir(&live).at(live.display())? {
            let path = file.at(live.display())?.path();
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove an unfinished log");
            }
        }
        Ok(blobs)
    }

    /// Returns a name that nothing has, for a blob that is about to be written.
    pub(crate) fn temporary(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.dir.join("live").join(number.to_string())
    }

    /// Makes a finished file the blob `digest`.
    pub(crate) fn adopt(&self, file: &Path, digest: &Digest) -> Result<(), PathError> {
        fs::rename(file, self.path(digest)).at(file.display())
    }

    /// Stores `data`.
    pub(crate) fn put(&self, data: &[u8]) -> Result<Digest, PathError> {
        let (digest, temporary) = (Digest::of(data), self.temporary());
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary);
        file.and_then(|mut file| file.write_all(data))
            .at(temporary.display())?;
        self.adopt(&temporary, &digest)?;
        Ok(digest)
    }

    /// Opens a blob; returns its length too.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Option<(File, u64)> {
        let file = File::open(self.path(digest)).ok()?;
        let bytes = file.metadata().ok()?.len();
        Some((file, bytes))
    }

    /// Returns digests and lengths of all blobs.
    pub(crate) fn list(&self) -> Vec<(Digest, u64)> {
        let Ok(files) = fs::read_dir(self.dir.join("blobs")) else {
            return Vec::new();
        };
        let blob = |file: io::Result<fs::DirEntry>| {
            let file = file.ok()?;
            let digest = format!("sha256:{}", file.file_name().to_str()?)
                .parse()
                .ok()?;
            Some((digest, file.metadata().ok()?.len()))
        };
        files.filter_map(blob).collect()
    }

    /// Removes a blob; one that cannot be removed stays without harm.
    pub(crate) fn remove(&self, digest: &Digest) {
        let path = self.path(digest);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove a blob of the history");
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs").join(digest.hex())
    }
}

fn make_dir(dir: &Path) -> Result<(), PathError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.at(dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_kept_and_leftovers_swept() {
        let dir = tempfile::tempdir().expect("a folder");
        let blobs = HistoryBlobs::open(dir.path()).expect("opens");
        let digest = blobs.put(b"log").expect("stored");
        fs::write(blobs.temporary(), b"half").expect("a file");
        drop(blobs);
        let blobs = HistoryBlobs::open(dir.path()).expect("opens again");
        assert_eq!(blobs.list(), [(digest, 3)]);
        assert_eq!(blobs.open_blob(&digest).map(|(_, bytes)| bytes), Some(3));
        assert_eq!(
            fs::read_dir(dir.path().join("live"))
                .expect("a folder")
                .count(),
            0
        );
        blobs.remove(&digest);
        blobs.remove(&digest);
        assert!(blobs.list().is_empty());
    }
}
