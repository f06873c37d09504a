//! Why the client did not give what it was asked for.

use lamina_types::PathError;

use crate::MAX_SECRET_BYTES;

/// The client could not give what a build asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The client offers no directory of that name (row SVC-06).
    #[error("no access allowed to dir {name:?}")]
    NoSuchDirectory {
        /// The name of the local source.
        name: String,
    },
    /// The client offers no OCI layout of that name (row SRC-33).
    #[error("no access allowed to OCI layout {name:?}")]
    NoSuchLayout {
        /// The name of the store.
        name: String,
    },
    /// The build has more exporters than the client has places for their results.
    #[error("no output was given for exporter {exporter}")]
    NoTarget {
        /// Position of the exporter in the request.
        exporter: usize,
    },
    /// The client wants a directory from an exporter that makes a file, or the reverse.
    #[error("the output of exporter {exporter} is {given}, not {wanted}")]
    WrongTarget {
        /// Position of the exporter in the request.
        exporter: usize,
        /// What the client gave.
        given: &'static str,
        /// What the exporter needs.
        wanted: &'static str,
    },
    /// A secret is larger than clients send (row SVC-14).
    #[error("secret {id:?} is too large: {size} bytes, at most {MAX_SECRET_BYTES} are allowed")]
    SecretTooLarge {
        /// The id of the secret.
        id: String,
        /// How large it is, or how much of it was read.
        size: u64,
    },
    /// The file or variable behind a secret could not be read.
    #[error("secret {id:?}: {source}")]
    Secret {
        /// The id of the secret.
        id: String,
        /// What went wrong, with the path on the client.
        source: PathError,
    },
    /// Stored credentials exist but could not be had.
    #[error("credentials for {host}: {reason}")]
    Credentials {
        /// The registry.
        host: String,
        /// What the configuration file or the helper program said.
        reason: String,
    },
    /// A file of the client could not be read or written.
    #[error(transparent)]
    Io(#[from] PathError),
}
