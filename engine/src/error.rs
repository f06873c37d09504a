//! Why an engine could not be opened.

use lamina_executor::ExecError;
use lamina_llb::CacheMountError;
use lamina_network::NetworkError;
use lamina_registry::RegistryError;
use lamina_snapshotter::SnapshotError;
use lamina_types::PathError;

/// The state folder or one of the parts over it cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file of the state folder could not be made or read.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The folder was made by another version, or for other users.
    #[error("{root}: {reason}")]
    Format {
        /// The state folder.
        root: String,
        /// What does not fit, and what to do.
        reason: String,
    },
    /// The database cannot be opened.
    #[error("{path}: {source}")]
    Database {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: Box<redb::Error>,
    },
    /// The layers cannot be used, or no way of mounting them works.
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    /// Blobs cannot be kept.
    #[error(transparent)]
    Content(#[from] lamina_content::ContentError),
    /// Cache directories cannot be kept.
    #[error(transparent)]
    CacheMounts(#[from] CacheMountError),
    /// Registries are configured wrongly.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// Steps cannot have the network that was asked for.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Processes cannot be run.
    #[error(transparent)]
    Executor(#[from] ExecError),
    /// The system gives no threads.
    #[error("cannot start threads: {0}")]
    Threads(#[source] std::io::Error),
}
