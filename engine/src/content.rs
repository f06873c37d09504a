//! The blobs of builds and of the history, as one read-only store (row OTH-04).

use std::fs::File;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::sync::Arc;

use lamina_types::BlockingError;
use lamina_types::CancelToken;
use lamina_types::Digest;
use tokio::io::AsyncRead;

use crate::Engine;

/// The bytes of a blob.
pub type BlobReader = Box<dyn AsyncRead + Send + Unpin>;

impl Engine {
    /// Returns the size of a blob of a build or of the history; `None` if there is none (row OTH-04).
    pub async fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let digest = *digest;
        self.with_blobs(move |engine| Some(engine.open_blob(&digest)?.1))
            .await
    }

    /// Opens a blob of a build or of the history at `offset`; beyond the end there is nothing to read.
    pub async fn read_blob(&self, digest: &Digest, offset: u64) -> Option<BlobReader> {
        let digest = *digest;
        let open = move |engine: &Self| {
            let (mut file, _) = engine.open_blob(&digest)?;
            file.seek(SeekFrom::Start(offset)).ok()?;
            Some(file)
        };
        let file = self.with_blobs(open).await?;
        Some(Box::new(tokio::fs::File::from_std(file)))
    }

    /// Returns digests and sizes of all blobs.
    pub async fn list_blobs(&self) -> Vec<(Digest, u64)> {
        let list = |engine: &Self| {
            let content = engine.0.content.blobs().unwrap_or_else(|error| {
                tracing::warn!(%error, "blobs could not be listed");
                Vec::new()
            });
            let mut blobs = [content, engine.0.history.blobs().list()].concat();
            blobs.sort_unstable();
            blobs.dedup();
            Some(blobs)
        };
        self.with_blobs(list).await.unwrap_or_default()
    }

    fn open_blob(&self, digest: &Digest) -> Option<(File, u64)> {
        if let Some(found) = self.0.history.blobs().open_blob(digest) {
            return Some(found);
        }
        let file = self.0.content.open_blob(digest).ok()?;
        let bytes = file.metadata().ok()?.len();
        Some((file, bytes))
    }

    /// Runs work where it may block.
    async fn with_blobs<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let engine = Self(Arc::clone(&self.0));
        let blocking = self.0.services.blocking.clone();
        let work = move |_: &CancelToken| Ok::<_, BlockingError>(work(&engine));
        blocking.run(&CancelToken::new(), work).await.ok()?
    }
}
