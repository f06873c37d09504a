//! Why a request of the daemon was not met, and how that is said on the wire.

use lamina_session::SessionError;
use lamina_types::BlockingError;
use lamina_types::Cancelled;
use lamina_types::PathError;
use tonic::Code;
use tonic::Status;

/// A request of the daemon was not met.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    /// The session does not offer it, or failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A file of this host could not be read or written.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The session ended.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// Work on files did not return.
    #[error(transparent)]
    Blocking(#[from] BlockingError),
    /// The daemon went away, or says that it failed.
    #[error("{}", .0.message())]
    Daemon(#[from] Status),
    /// The daemon asked for what makes no sense.
    #[error("{0}")]
    Refused(String),
}

impl From<ServeError> for Status {
    fn from(error: ServeError) -> Self {
        if let ServeError::Daemon(status) = error {
            return status;
        }
        let code = match &error {
            ServeError::Session(error) => code_of(error),
            ServeError::Cancelled(_) | ServeError::Blocking(BlockingError::Cancelled(_)) => {
                Code::Cancelled
            }
            ServeError::Blocking(_) => Code::Internal,
            ServeError::Refused(_) => Code::InvalidArgument,
            _ => Code::Unknown,
        };
        Self::new(code, error.to_string())
    }
}

/// What is not offered is "not found", so that the daemon can ask elsewhere (row SVC-06).
fn code_of(error: &SessionError) -> Code {
    match error {
        SessionError::NoSuchDirectory { .. }
        | SessionError::NoSuchLayout { .. }
        | SessionError::NoSuchStore { .. }
        | SessionError::NoSuchAgent { .. }
        | SessionError::NoSuchUpload { .. }
        | SessionError::NoTarget { .. } => Code::NotFound,
        SessionError::WrongTarget { .. }
        | SessionError::Pattern { .. }
        | SessionError::Protocol(_) => Code::InvalidArgument,
        SessionError::Cancelled(_) => Code::Cancelled,
        _ => Code::Unknown,
    }
}

/// Says of a session error what goes on the wire.
pub(super) fn status(error: SessionError) -> Status {
    ServeError::from(error).into()
}
