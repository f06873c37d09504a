//! What servers gave before, and by which entity tag they know it.
//!
//! One JSON file per download under `sources/http/`, named by the key of the wish. Losing one costs
//! a download.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use lamina_snapshotter::Layer;
use lamina_snapshotter::SnapshotStore;
use lamina_types::Digest;
use lamina_types::IoContext;
use lamina_types::LayerId;
use lamina_types::PathError;
use serde::Deserialize;
use serde::Serialize;

/// Downloads that are remembered; the oldest are forgotten.
const MAX_REMEMBERED: usize = 256;

/// The folder of what is remembered.
#[derive(Clone)]
pub(super) struct Memory(PathBuf);

/// One download.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// As the server spells it.
    pub(super) etag: String,
    pub(super) digest: Digest,
    pub(super) filename: String,
    pub(super) last_modified: Option<i64>,
    layer: u64,
}

impl Remembered {
    pub(super) fn new(etag: String, digest: Digest, filename: String, layer: &Layer) -> Self {
        Self {
            etag,
            digest,
            filename,
            last_modified: None,
            layer: layer.id().0,
        }
    }
}

impl Memory {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Returns what is remembered, if its layer is still there.
    pub(super) fn load(&self, key: &Digest, store: &SnapshotStore) -> Option<(Remembered, Layer)> {
        let remembered = read(&self.0.join(key.hex()))?;
        let layer = store.layer(LayerId(remembered.layer))?;
        Some((remembered, layer))
    }

    /// Remembers a download instead of an earlier one.
    pub(super) fn save(&self, key: &Digest, remembered: &Remembered) {
        if let Err(error) = self.write(key, remembered) {
            tracing::warn!(%error, "a download is not remembered");
        }
    }

    fn write(&self, key: &Digest, remembered: &Remembered) -> Result<(), PathError> {
        fs::DirBuilder::new()
            .recursive(true)
            .create(&self.0)
            .at(self.0.display())?;
        let path = self.0.join(key.hex());
        let temporary = path.with_extension("new");
        let text = serde_json::to_vec(remembered).map_err(std::io::Error::other);
        let written = text.and_then(|text| fs::write(&temporary, text));
        written.at(temporary.display())?;
        fs::rename(&temporary, &path).at(path.display())?;
        self.forget_old();
        Ok(())
    }

    fn forget_old(&self) {
        let mut files: Vec<(SystemTime, PathBuf)> = self
            .files()
            .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
            .collect();
        files.sort();
        let surplus = files.len().saturating_sub(MAX_REMEMBERED);
        for (_, path) in files.into_iter().take(surplus) {
            // The next save tries again.
            drop(fs::remove_file(path));
        }
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let files = fs::read_dir(&self.0).into_iter().flatten();
        files.filter_map(|file| Some(file.ok()?.path()))
    }

    /// Returns the layers that are remembered.
    pub(super) fn layers(&self) -> Vec<LayerId> {
        let files = self.files();
        files
            .filter_map(|path| Some(LayerId(read(&path)?.layer)))
            .collect()
    }
}

fn read(path: &Path) -> Option<Remembered> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
