//! A layer with one file, written while it comes.

use std::fs::File;
use std::io;
use std::io::Write;

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::Sha256Hasher;

use super::HttpWish;
use crate::SourceError;

const SECOND_NS: i128 = 1_000_000_000;

/// A file on its way. Dropping it leaves nothing.
pub(super) struct FileLayer {
    active: ActiveLayer,
    root: WriteDir,
    file: File,
    hasher: Sha256Hasher,
}

impl FileLayer {
    pub(super) fn start(
        store: &SnapshotStore,
        wish: &HttpWish,
        filename: &str,
    ) -> Result<Self, SourceError> {
        let mut active = store.prepare(&LayerStack::empty())?;
        active.describe(format!("http url {}", wish.shown_url()));
        let root = active.writer().root()?;
        let file = root.create_file(filename.as_bytes(), wish.mode())?;
        Ok(Self {
            active,
            root,
            file,
            hasher: Sha256Hasher::new(),
        })
    }

    /// Gives the file its owner and time, and seals the layer.
    pub(super) fn finish(
        self,
        wish: &HttpWish,
        last_modified: Option<i64>,
        cancel: &CancelToken,
    ) -> Result<(Layer, Digest), SourceError> {
        let owner = (wish.uid, wish.gid);
        let change = MetadataChange {
            owner: (owner != (0, 0)).then_some(owner),
            mtime_ns: Some(i128::from(last_modified.unwrap_or(0)) * SECOND_NS),
            ..MetadataChange::default()
        };
        self.root.set_file_metadata(&self.file, &change)?;
        drop((self.root, self.file));
        Ok((self.active.commit(cancel)?, self.hasher.finish()))
    }
}

impl Write for FileLayer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.file.write(data)?;
        self.hasher.update(&data[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
