//! Why the client did not give what it was asked for.

use lamina_types::PathError;
use tonic::Code;
use tonic::Status;

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
    /// The client offers no such folder of caches, or nowhere to put an image's blobs (row SVC-19).
    #[error("unknown store {id}")]
    NoSuchStore {
        /// What the store is called between daemon and client.
        id: String,
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
    /// The client forwards no such agent or socket (row SVC-15).
    #[error("no SSH key {id:?} forwarded from the client")]
    NoSuchAgent {
        /// The id of the mount.
        id: String,
    },
    /// The client offers nothing under that URL (row SVC-17).
    #[error("the client uploads nothing at {url}")]
    NoSuchUpload {
        /// What was asked for.
        url: String,
    },
    /// No client with that session is connected (row SES-06).
    #[error("no active session for {id}: context deadline exceeded")]
    NotConnected {
        /// The id of the session.
        id: String,
    },
    /// The build has no session.
    #[error("no active sessions")]
    NoSession,
    /// A local source is wanted and the build has no session (row CSOL-08).
    #[error("could not access local files without session")]
    NoSessionForFiles,
    /// Two clients say that they are the same session.
    #[error("session {id} is connected already")]
    Duplicate {
        /// The id of the session.
        id: String,
    },
    /// The client refused, failed or went away.
    #[error("{message}")]
    Remote {
        /// What it said.
        message: String,
        /// Nothing more will come from this client (row SES-08).
        gone: bool,
    },
    /// The client said what makes no sense (row SVC-05).
    #[error("the client broke the transfer protocol: {0}")]
    Protocol(String),
    /// A pattern of a local source is malformed (row SRC-11).
    #[error("{attribute}: {source}")]
    Pattern {
        /// Which of the lists.
        attribute: &'static str,
        /// What is wrong with it.
        source: lamina_patterns::PatternError,
    },
    /// The build was told to stop.
    #[error(transparent)]
    Cancelled(#[from] lamina_types::Cancelled),
    /// A file of the client could not be read or written.
    #[error(transparent)]
    Io(#[from] PathError),
}

impl SessionError {
    /// Says whether this only tells that the client is not there, or not any more (row SES-08), so
    /// that another one may do better.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::NotConnected { .. }
                | Self::NoSession
                | Self::NoSessionForFiles
                | Self::Remote { gone: true, .. }
        )
    }

    /// What a client answered, or what became of the way to it.
    pub(crate) fn from_status(status: Status) -> Self {
        Self::Remote {
            message: status.message().to_owned(),
            gone: status.code() == Code::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row SES-08.
    #[test]
    fn clients_that_are_gone_are_told_from_those_that_refuse() {
        let remote = |gone| SessionError::Remote {
            message: "m".to_owned(),
            gone,
        };
        let id = || "x".to_owned();
        for (error, is_gone) in [
            (SessionError::NotConnected { id: id() }, true),
            (SessionError::NoSession, true),
            (SessionError::NoSessionForFiles, true),
            (remote(true), true),
            (remote(false), false),
            (SessionError::NoSuchAgent { id: id() }, false),
            (SessionError::Cancelled(lamina_types::Cancelled), false),
        ] {
            assert_eq!(error.is_gone(), is_gone, "{error}");
        }
    }
}
