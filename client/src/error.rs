//! Why a call did not succeed.

use std::error::Error;

use lamina_proto::rpc;
use lamina_session::SessionError;
use lamina_types::Cancelled;
use lamina_types::Digest;
use lamina_types::PathError;
use tonic::Code;
use tonic::Status;

use crate::Failure;

/// Something went wrong at the daemon or on the way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address makes no sense.
    #[error("{address:?}: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate or key cannot be read.
    #[error(transparent)]
    Certificate(PathError),
    /// Nobody answers.
    #[error("cannot reach the daemon at {address}: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The daemon answered with an error.
    #[error("{}", .0.message)]
    Daemon(Box<Failure>),
    /// Who drives the build says that it cannot be done (row GW-34).
    #[error("{}", .0.message)]
    Refused(Box<Failure>),
    /// A frontend was started without the pipes on which it is to talk (row FGW-07).
    #[error("standard {stream} is no pipe of a daemon: {reason}")]
    Pipe {
        /// `input` or `output`.
        stream: &'static str,
        /// What the system said.
        reason: String,
    },
    /// The daemon answered with something that the protocol does not allow.
    #[error("the daemon's answer makes no sense: {0}")]
    Malformed(&'static str),
    /// A blob is not what its digest says.
    #[error("blob {wanted} came with the content of {found}")]
    WrongBlob {
        /// What was asked for.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// A blob is larger than fits in memory reasonably.
    #[error("blob {digest} is larger than {limit} bytes")]
    BlobTooLarge {
        /// What was asked for.
        digest: Digest,
        /// The most that is read.
        limit: usize,
    },
    /// Ids travel in headers, which hold only printable ASCII characters.
    #[error("{what} {text:?} has characters that cannot be sent")]
    NotAscii {
        /// Which value.
        what: &'static str,
        /// What was given.
        text: String,
    },
    /// The session of this process could not be offered to the daemon.
    #[error("session: {0}")]
    Session(#[from] SessionError),
    /// The build was told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl ClientError {
    /// Explains the status of a call to the daemon at `address`.
    pub(crate) fn from_status(status: &Status, address: &str) -> Self {
        match lost_connection(status) {
            Some(reason) => Self::Unreachable {
                address: address.to_owned(),
                reason,
            },
            None => Self::Daemon(Box::new(Failure::from_status(status))),
        }
    }

    /// Writes the error as clients give it to `Return`: details of the daemon go back as they came
    /// (rows GW-34, NET-13).
    pub(crate) fn to_wire(&self) -> rpc::Status {
        match self {
            Self::Daemon(failure) | Self::Refused(failure) => failure.to_wire(),
            Self::Cancelled(_) => plain(Code::Cancelled, self),
            Self::Unreachable { .. } => plain(Code::Unavailable, self),
            other => plain(Code::Unknown, other),
        }
    }
}

impl From<Failure> for ClientError {
    /// Makes an error of the caller's own out of a description.
    fn from(failure: Failure) -> Self {
        Self::Refused(Box::new(failure))
    }
}

fn plain(code: Code, error: &ClientError) -> rpc::Status {
    rpc::Status {
        code: code.into(),
        message: error.to_string(),
        details: Vec::new(),
    }
}

/// Returns what the system said, if the status is about the connection and not an answer.
fn lost_connection(status: &Status) -> Option<String> {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::transport::Error>() || error.is::<std::io::Error>() {
            return Some(innermost(error));
        }
        source = error.source();
    }
    None
}

/// Returns the text of the last error in the chain, which is the most exact.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let text = last.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}
