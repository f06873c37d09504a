//! What can go wrong with blobs, images and archives.

use lamina_snapshotter::SnapshotError;
use lamina_types::BlockingError;
use lamina_types::Cancelled;
use lamina_types::Digest;
use lamina_types::PathError;

/// A blob, an image or an archive could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The system refused; names the file on the host, or the path in the image.
    #[error(transparent)]
    Io(#[from] PathError),
    /// A layer could not be read or written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Nobody waits for it any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The work was lost.
    #[error(transparent)]
    Blocking(#[from] BlockingError),
    /// The bytes are not what their name says.
    #[error("{wanted}: content has digest {found}")]
    WrongDigest {
        /// As asked for.
        wanted: Digest,
        /// As computed.
        found: Digest,
    },
    /// The store has no such blob.
    #[error("{digest}: blob not found")]
    NotFound {
        /// As asked for.
        digest: Digest,
    },
    /// The blob is larger than what it is used for may be.
    #[error("{digest}: blob of {size} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// As asked for.
        digest: Digest,
        /// Its length.
        size: u64,
        /// What was allowed.
        limit: u64,
    },
    /// A value could not be written as JSON, or a blob is not the JSON that it should be.
    #[error("{what}: invalid JSON: {source}")]
    Json {
        /// What was read or written.
        what: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A compressed stream is damaged or cut off.
    #[error("cannot read {what}: {source}")]
    Stream {
        /// What was read.
        what: &'static str,
        /// What the decoder says.
        source: std::io::Error,
    },
    /// The compressor refused; a bug, or a level that does not exist.
    #[error("cannot compress: {source}")]
    Compress {
        /// What the encoder says.
        source: std::io::Error,
    },
    /// The text names no compression.
    #[error("unsupported compression type {text}")]
    UnknownCompression {
        /// As given.
        text: String,
    },
    /// An archive breaks the rules of its format.
    #[error("invalid tar header: {reason}")]
    BadHeader {
        /// Which rule.
        reason: String,
    },
    /// An archive's entry cannot be made, or must not be.
    #[error("archive entry {path:?}: {reason}")]
    BadEntry {
        /// Its name, as written.
        path: String,
        /// Why not.
        reason: String,
    },
}

impl ContentError {
    /// Refuses an entry of an archive by its name.
    pub(crate) fn entry(path: &[u8], reason: impl Into<String>) -> Self {
        Self::BadEntry {
            path: String::from_utf8_lossy(path).into_owned(),
            reason: reason.into(),
        }
    }

    /// Refuses an archive's header.
    pub(crate) fn header(reason: impl Into<String>) -> Self {
        Self::BadHeader {
            reason: reason.into(),
        }
    }
}
