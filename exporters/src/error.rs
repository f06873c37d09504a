//! Why a result could not be handed over.

use lamina_content::ContentError;
use lamina_registry::RegistryError;
use lamina_session::SessionError;
use lamina_snapshotter::SnapshotError;
use lamina_types::BlockingError;
use lamina_types::Cancelled;
use lamina_types::PathError;

/// An exporter was asked for something wrong, or could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There is no such type of output.
    #[error("exporter {kind:?} could not be found")]
    UnknownExporter {
        /// As given.
        kind: String,
    },
    /// There is no such type of cache to write (row CSOL-11).
    #[error("unknown cache exporter: {kind:?}")]
    UnknownCacheExporter {
        /// As given.
        kind: String,
    },
    /// There is no such type of cache to read (row CSOL-12).
    #[error("unknown cache importer: {kind:?}")]
    UnknownCacheImporter {
        /// As given.
        kind: String,
    },
    /// A cache to read makes no sense.
    #[error("{0}")]
    BadCache(String),
    /// An attribute has a value that it cannot have.
    #[error("{0}")]
    BadAttribute(String),
    /// Attributes, or attributes and result, contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// The attribute exists, and this version cannot do it.
    #[error("exporter option \"{option}\" is not supported yet")]
    Unsupported {
        /// `name=value`.
        option: String,
    },
    /// The result's metadata is not what it should be.
    #[error("{0}")]
    BadResult(String),
    /// The files or the network of the target failed.
    #[error(transparent)]
    Io(#[from] PathError),
    /// A layer could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A blob could not be read or written.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The client offers no such target.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// An image's name cannot be used.
    #[error("failed to parse {name}: {reason}")]
    BadName {
        /// As given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The registry did not take the image.
    #[error("failed to push {name}: {source}")]
    Push {
        /// As given.
        name: String,
        /// What it answered.
        source: Box<RegistryError>,
    },
    /// The registry did not give the cache.
    #[error("failed to read cache {name}: {source}")]
    Pull {
        /// As given.
        name: String,
        /// What it answered.
        source: Box<RegistryError>,
    },
    /// Nobody waits for it any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The work was lost.
    #[error(transparent)]
    Blocking(#[from] BlockingError),
}
