//! Stores of blobs at the client: image layouts and folders with caches (row SVC-19).

use async_trait::async_trait;
use lamina_types::Digest;
use tokio::io::AsyncRead;

use crate::SessionError;

/// A reader of one blob.
pub type BlobReader = Box<dyn AsyncRead + Send + Unpin>;

/// Blobs by digest.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Returns the size of a blob; `None` if it is not there.
    ///
    /// # Errors
    /// If the store cannot be asked.
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, SessionError>;

    /// Reads a blob from `offset` on. Its digest is the caller's to check.
    ///
    /// # Errors
    /// If it is not there.
    async fn read(&self, digest: &Digest, offset: u64) -> Result<BlobReader, SessionError>;

    /// Writes a blob of `size` bytes; one that is there already is left alone. It shows only when
    /// it is complete and has the digest.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn write(&self, digest: &Digest, size: u64, data: BlobReader)
    -> Result<(), SessionError>;
}
