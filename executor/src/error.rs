//! Why a step could not be run.

use std::io;
use std::path::PathBuf;

use lamina_network::NetworkError;
use lamina_snapshotter::SnapshotError;
use lamina_types::BlockingError;
use lamina_types::Cancelled;
use lamina_types::PathError;

use crate::wire::Failure;

/// Why a step did not run to its end. That it ran and failed is an
/// [`ExitStatus`](crate::ExitStatus), not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// Nobody wants the result any more; the process tree has been killed.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// A layer could not be read, written or mounted.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The worker pool refused the work.
    #[error(transparent)]
    Blocking(BlockingError),
    /// The image's passwd file has no such user (row EXC-04).
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    /// The image's group file has no such group (row EXC-04).
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
    /// A number that is no user or group id.
    #[error("uids and gids must be in range 0-2147483647")]
    IdOutOfRange,
    /// A mount's selector names nothing (row EXC-14).
    #[error("{selector}: no such file or directory")]
    SelectorNotFound {
        /// As the caller wrote it.
        selector: String,
    },
    /// A mount cannot be where the caller wants it.
    #[error("cannot mount at {dest}: {reason}")]
    BadDestination {
        /// As the caller wrote it.
        dest: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No such resource limit.
    #[error("unknown ulimit {0:?}")]
    UnknownUlimit(String),
    /// There is no program to run.
    #[error("no command specified")]
    NoCommand,
    /// A string that the kernel could not take.
    #[error("{0} contains a NUL byte")]
    NulByte(&'static str),
    /// The program of a process that somebody talks to is not there or not executable (row EXE-20).
    #[error("unable to start container process: {0}")]
    NotStarted(String),
    /// The step needs owners that this user's single id cannot stand for.
    #[error("{0}")]
    NeedsMoreIds(String),
    /// The sandbox could not be made.
    #[error("unable to create the sandbox: {0}")]
    Sandbox(String),
    /// What is to be given to the step as a device is none.
    #[error("{} is no device", .0.display())]
    NoDevice(PathBuf),
    /// The kernel does not take the limit that the step asks for.
    #[error("cannot limit the step: {file} = {value}: {source}")]
    Limit {
        /// The file of the control group.
        file: &'static str,
        /// What was to be written.
        value: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The child that runs steps has gone.
    #[error("the runtime process ended unexpectedly{0}")]
    RuntimeLost(String),
    /// A system call failed.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The step has no network of the kind that was set up for all.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A file of ours could not be used.
    #[error(transparent)]
    Io(#[from] PathError),
}

impl From<BlockingError> for ExecError {
    fn from(error: BlockingError) -> Self {
        match error {
            BlockingError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            other => Self::Blocking(other),
        }
    }
}

impl From<Failure> for ExecError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Start(text) => Self::NotStarted(text),
            Failure::Selector(selector) => Self::SelectorNotFound { selector },
            Failure::NeedsMoreIds(text) => Self::NeedsMoreIds(text),
            Failure::Sandbox(text) => Self::Sandbox(text),
        }
    }
}

/// Says what was being done when a system call failed.
pub(crate) trait Doing<T> {
    /// Turns the error into one that begins with `doing`.
    fn doing(self, doing: &'static str) -> Result<T, ExecError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, ExecError> {
        self.map_err(|source| ExecError::System {
            doing,
            source: source.into(),
        })
    }
}
