//! Why a source gave nothing.

use lamina_content::ContentError;
use lamina_patterns::PatternError;
use lamina_registry::ReferenceError;
use lamina_registry::RegistryError;
use lamina_session::SessionError;
use lamina_snapshotter::SnapshotError;
use lamina_types::BlockingError;
use lamina_types::Cancelled;
use lamina_types::DiffId;
use lamina_types::Digest;
use lamina_types::PathError;
use lamina_types::without_credentials;

use crate::GitError;

/// A source could not be resolved or read. Messages show no credentials of URLs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The build was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The work never ran, or panicked.
    #[error(transparent)]
    Blocking(#[from] BlockingError),
    /// The layer store failed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The content store failed, or a blob is damaged.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The client did not give what was asked for.
    #[error(transparent)]
    Session(SessionError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A repository of git failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// Not an image reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A file of the client could not be read.
    #[error(transparent)]
    Io(#[from] PathError),
    /// An identifier without a scheme.
    #[error(
        "failed to parse {}: expected scheme://..",
        without_credentials(identifier)
    )]
    BadIdentifier {
        /// What was given.
        identifier: String,
    },
    /// A scheme that nobody knows (row SRC-01).
    #[error("unknown scheme {scheme}: not found")]
    UnknownScheme {
        /// What was given.
        scheme: String,
    },
    /// A scheme that this version does not read.
    #[error(
        "{}: sources of scheme {scheme} are not supported yet",
        without_credentials(identifier)
    )]
    UnsupportedScheme {
        /// The scheme.
        scheme: String,
        /// What was given.
        identifier: String,
    },
    /// An attribute has a value that makes no sense.
    #[error(
        "{}: invalid value {value:?} of {name}: {reason}",
        without_credentials(identifier)
    )]
    BadAttribute {
        /// The source.
        identifier: String,
        /// The attribute.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A list of patterns cannot be used.
    #[error("invalid {attribute}: {source}")]
    Pattern {
        /// Which list.
        attribute: &'static str,
        /// What is wrong.
        source: PatternError,
    },
    /// The image is not the one that the build requires (row SRC-06).
    #[error("image digest {found} for {reference} does not match expected checksum {wanted}")]
    WrongChecksum {
        /// The image.
        reference: String,
        /// What the build requires.
        wanted: Digest,
        /// What the reference names.
        found: Digest,
    },
    /// A document of the image makes no sense.
    #[error("{reference}: malformed {what} {digest}: {reason}")]
    MalformedImage {
        /// The image.
        reference: String,
        /// Which document.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer does not unpack to what the image config says.
    #[error("{reference}: layer {layer} unpacks to {found}, but the image config has {wanted}")]
    WrongDiffId {
        /// The image.
        reference: String,
        /// The blob.
        layer: Digest,
        /// What the config says.
        wanted: DiffId,
        /// What it is.
        found: DiffId,
    },
    /// A document or blob that an OCI layout should have.
    #[error("OCI layout {layout:?}: {reason}")]
    Layout {
        /// What the client calls it, or its folder.
        layout: String,
        /// What is wrong.
        reason: String,
    },
    /// A file could not be had. Worded as Go does, which clients of BuildKit know.
    #[error("Get {url:?}: {reason}")]
    Http {
        /// What was asked for, without credentials.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// A server answered a request for a file with an error.
    #[error("invalid response status {status}")]
    HttpStatus {
        /// The HTTP status.
        status: u16,
    },
    /// A secret for a server could not be had (row SRC-30).
    #[error("failed to retrieve HTTP auth secret {id}: {reason}")]
    HttpSecret {
        /// Its id.
        id: String,
        /// Why not.
        reason: String,
    },
    /// A file is not the one that the build requires (row SRC-28).
    #[error("digest mismatch {found}: {wanted}")]
    WrongFile {
        /// What came.
        found: Digest,
        /// What the build requires, or what it was before.
        wanted: Digest,
    },
    /// A pinned source of another kind was given.
    #[error(
        "{} is not a source of scheme {scheme}",
        without_credentials(identifier)
    )]
    WrongKind {
        /// What was given.
        identifier: String,
        /// What was asked.
        scheme: &'static str,
    },
}

impl From<SessionError> for SourceError {
    /// What is wrong with the request is told apart from what is wrong with the client.
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Pattern { attribute, source } => Self::Pattern { attribute, source },
            SessionError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            other => Self::Session(other),
        }
    }
}

impl SourceError {
    /// Says whether the build was cancelled, at whatever depth.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled(_) | Self::Blocking(BlockingError::Cancelled(_)) => true,
            Self::Registry(error) => error.is_cancelled(),
            Self::Snapshot(SnapshotError::Cancelled(_) | SnapshotError::Blocking(_)) => true,
            Self::Content(ContentError::Cancelled(_)) => true,
            _ => false,
        }
    }
}
