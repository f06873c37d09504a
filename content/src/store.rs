//! Blobs on disk, as an OCI image layout.
//!
//! ```text
//! content/              0700
//!   oci-layout          {"imageLayoutVersion":"1.0.0"}
//!   index.json          images by name (`org.opencontainers.image.ref.name`)
//!   blobs/sha256/<hex>  one file for each blob, 0600, complete and checked
//!   ingest/<n>          being written; swept when the store is opened
//! ```
//! A blob appears by a rename of a file that was written, hashed and flushed before; so what is
//! under `blobs/` is always whole, and two writers of one blob do no harm. The names of blobs are
//! flushed before `index.json` names an image, and it before [`ContentStore::tag`] returns.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;

use lamina_types::Digest;
use lamina_types::IoContext;
use lamina_types::PathError;
use serde::de::DeserializeOwned;

use crate::ContentError;
use crate::Descriptor;
use crate::Index;
use crate::Ingest;
use crate::ingest::sync_folder;
use crate::media_type;
use crate::serde_go::to_go_json;

/// What an `oci-layout` file holds.
pub const OCI_LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";
/// Names an entry of an index.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Manifests, indexes and configs are read whole; none of them may be larger (row SRC-31).
pub const MAX_METADATA_BYTES: u64 = 16 << 20;

/// A folder of blobs. Clones share it.
#[derive(Clone)]
pub struct ContentStore(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    next_ingest: AtomicU64,
    /// Images by name, as in `index.json`.
    images: Mutex<BTreeMap<String, Descriptor>>,
}

impl ContentStore {
    /// Opens the store in `dir`, creating what is missing and removing unfinished blobs.
    ///
    /// # Errors
    /// If the folders cannot be made or `index.json` cannot be read.
    pub fn open(dir: &Path) -> Result<Self, ContentError> {
        remove_unfinished(&dir.join("ingest"))?;
        for folder in ["blobs/sha256", "ingest"] {
            make_private_dir(&dir.join(folder))?;
        }
        let images = read_index(&dir.join("index.json"))?;
        let store = Self(Arc::new(Inner {
            dir: dir.to_owned(),
            next_ingest: AtomicU64::new(0),
            images: Mutex::new(images),
        }));
        store.mark_layout()?;
        Ok(store)
    }

    /// Writes the file that makes the folder an OCI layout, if it is missing.
    fn mark_layout(&self) -> Result<(), ContentError> {
        let layout = self.0.dir.join("oci-layout");
        if layout.exists() {
            return Ok(());
        }
        let mut ingest = self.ingest()?;
        ingest.append(OCI_LAYOUT.as_bytes())?;
        ingest.replace(&layout)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0.dir
    }

    pub(crate) fn next_ingest(&self) -> &AtomicU64 {
        &self.0.next_ingest
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.0.dir.join("blobs/sha256").join(digest.hex())
    }

    /// Says whether the blob is there.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Returns the length of a blob in bytes.
    ///
    /// # Errors
    /// [`ContentError::NotFound`] if it is not there.
    pub fn size(&self, digest: &Digest) -> Result<u64, ContentError> {
        let path = self.blob_path(digest);
        let metadata = std::fs::metadata(&path).map_err(|error| missing(error, &path, digest))?;
        Ok(metadata.len())
    }

    /// Opens a blob for reading. It was checked when it was written.
    ///
    /// # Errors
    /// [`ContentError::NotFound`] if it is not there.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, ContentError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|error| missing(error, &path, digest))
    }

    /// Returns a whole blob; its digest is checked again.
    ///
    /// # Errors
    /// [`ContentError::TooLarge`] above `limit` bytes, before anything is read;
    /// [`ContentError::WrongDigest`] if the file was damaged on disk.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, ContentError> {
        let size = self.size(digest)?;
        if size > limit {
            return Err(ContentError::TooLarge {
                digest: *digest,
                size,
                limit,
            });
        }
        let mut data = Vec::new();
        self.open_blob(digest)?
            .take(limit)
            .read_to_end(&mut data)
            .at(digest)?;
        let found = Digest::of(&data);
        if found != *digest {
            return Err(ContentError::WrongDigest {
                wanted: *digest,
                found,
            });
        }
        Ok(data)
    }

    /// Reads a manifest, index or config of at most [`MAX_METADATA_BYTES`].
    ///
    /// # Errors
    /// As [`Self::read`]; [`ContentError::Json`] if it is something else.
    pub fn read_json<T: DeserializeOwned>(&self, digest: &Digest) -> Result<T, ContentError> {
        let data = self.read(digest, MAX_METADATA_BYTES)?;
        serde_json::from_slice(&data).map_err(|source| ContentError::Json {
            what: digest.to_string(),
            source,
        })
    }

    /// Stores `data`; does nothing if it is there.
    ///
    /// # Errors
    /// If it cannot be written; nothing is left behind then.
    pub fn put(&self, data: &[u8]) -> Result<Digest, ContentError> {
        let digest = Digest::of(data);
        if !self.contains(&digest) {
            let mut ingest = self.ingest()?;
            ingest.append(data)?;
            ingest.commit(Some(&digest))?;
        }
        Ok(digest)
    }

    /// Starts a new blob.
    ///
    /// # Errors
    /// If the temporary file cannot be made.
    pub fn ingest(&self) -> Result<Ingest, ContentError> {
        Ingest::start(self.clone())
    }

    /// Deletes the blobs that `keep` does not name and returns the freed bytes. Blobs being
    /// written are left alone.
    ///
    /// # Errors
    /// If the folder cannot be read or a blob not be removed.
    pub fn sweep(&self, keep: &dyn Fn(&Digest) -> bool) -> Result<u64, ContentError> {
        let folder = self.0.dir.join("blobs/sha256");
        let mut freed = 0;
        for item in std::fs::read_dir(&folder).at(folder.display())? {
            let item = item.at(folder.display())?;
            let name = item.file_name();
            let digest = name
                .to_str()
                .and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
            if digest.is_some_and(|digest| keep(&digest)) {
                continue;
            }
            let path = item.path();
            let size = item.metadata().at(path.display())?.len();
            std::fs::remove_file(&path).at(path.display())?;
            freed += size;
        }
        Ok(freed)
    }

    /// Gives an image a name, taking the name from whatever had it (row EIM-09). When this returns, the
    /// image survives a loss of power.
    ///
    /// # Errors
    /// If `index.json` cannot be replaced; the old one stays then.
    pub fn tag(&self, name: &str, image: Descriptor) -> Result<(), ContentError> {
        let mut images = self.0.images.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = images.clone();
        changed.insert(name.to_owned(), image);
        sync_folder(&self.0.dir.join("blobs/sha256"))?;
        self.write_index(&changed)?;
        *images = changed;
        Ok(())
    }

    /// Returns the image of that name.
    #[must_use]
    pub fn image(&self, name: &str) -> Option<Descriptor> {
        let images = self.0.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.get(name).cloned()
    }

    /// Returns all named images, sorted by name: roots for [`Self::sweep`].
    #[must_use]
    pub fn images(&self) -> Vec<(String, Descriptor)> {
        let images = self.0.images.lock().unwrap_or_else(PoisonError::into_inner);
        images
            .iter()
            .map(|(name, image)| (name.clone(), image.clone()))
            .collect()
    }

    fn write_index(&self, images: &BTreeMap<String, Descriptor>) -> Result<(), ContentError> {
        let manifests = images
            .iter()
            .map(|(name, image)| {
                let mut image = image.clone();
                image.annotations.insert(REF_NAME.to_owned(), name.clone());
                image
            })
            .collect();
        let index = Index::new(media_type::OCI_INDEX, manifests);
        let bytes = to_go_json(&index).map_err(|source| ContentError::Json {
            what: "index.json".to_owned(),
            source,
        })?;
        let mut ingest = self.ingest()?;
        ingest.append(&bytes)?;
        ingest.replace(&self.0.dir.join("index.json"))
    }
}

fn missing(error: io::Error, path: &Path, digest: &Digest) -> ContentError {
    if error.kind() == io::ErrorKind::NotFound {
        return ContentError::NotFound { digest: *digest };
    }
    ContentError::Io(PathError {
        path: path.display().to_string(),
        source: error,
    })
}

fn make_private_dir(path: &Path) -> Result<(), PathError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .at(path.display())
}

fn remove_unfinished(folder: &Path) -> Result<(), PathError> {
    let items = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        items => items.at(folder.display())?,
    };
    for item in items {
        let path = item.at(folder.display())?.path();
        std::fs::remove_file(&path).at(path.display())?;
    }
    Ok(())
}

fn read_index(path: &Path) -> Result<BTreeMap<String, Descriptor>, ContentError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        file => file.at(path.display())?,
    };
    let mut data = Vec::new();
    file.take(MAX_METADATA_BYTES)
        .read_to_end(&mut data)
        .at(path.display())?;
    let index: Index = serde_json::from_slice(&data).map_err(|source| ContentError::Json {
        what: path.display().to_string(),
        source,
    })?;
    let named = index.manifests.into_iter().filter_map(|mut image| {
        let name = image.annotations.remove(REF_NAME)?;
        Some((name, image))
    });
    Ok(named.collect())
}
