//! What can go wrong in a file operation; all paths are in-image.

use lamina_content::ContentError;
use lamina_patterns::PatternError;
use lamina_snapshotter::SnapshotError;
use lamina_types::Cancelled;
use lamina_types::IoContext;
use lamina_types::PathError;

use crate::action::CopyAction;

/// A file operation failed; texts follow BuildKit's where clients know them (row FIL-24).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileOpError {
    /// The build does not want the result any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// A copy could not be carried out.
    #[error("copy {from} to {to}: {cause}")]
    Copy {
        /// The source, as the client wrote it.
        from: String,
        /// The destination, as the client wrote it.
        to: String,
        /// What is at fault.
        #[source]
        cause: Box<Self>,
    },
    /// A source names nothing.
    #[error("lstat {path}: no such file or directory")]
    SourceNotFound {
        /// As the client wrote it, cleaned.
        path: String,
    },
    /// A pattern for a source matches nothing.
    #[error("{pattern} not found")]
    NoMatch {
        /// As the client wrote it, cleaned.
        pattern: String,
    },
    /// A file was to be written where a device, a fifo or a socket is.
    #[error("open {path}: not a regular file")]
    NotRegular {
        /// The place.
        path: String,
    },
    /// The parent of the destination does not exist and was not to be made.
    #[error("failed to stat {destination}: {source}")]
    NoDestination {
        /// As the client wrote it.
        destination: String,
        /// What is missing.
        source: PathError,
    },
    /// Something else is where a directory must be.
    #[error("cannot copy to non-directory: {path}")]
    NotADirectory {
        /// The place.
        path: String,
    },
    /// A directory is where a file would go.
    #[error("cannot replace to directory {path} with file")]
    IsADirectory {
        /// The place.
        path: String,
    },
    /// The root cannot be removed.
    #[error("rm /: the root directory cannot be removed")]
    RemoveRoot,
    /// A symbolic mode is malformed.
    #[error("mode {mode:?}: invalid syntax")]
    BadMode {
        /// As the client wrote it.
        mode: String,
    },
    /// An include pattern is malformed.
    #[error("invalid includepatterns: {0}")]
    BadInclude(#[source] PatternError),
    /// An exclude pattern is malformed.
    #[error("invalid excludepatterns: {0}")]
    BadExclude(#[source] PatternError),
    /// The system refused an operation.
    #[error("{operation} {source}")]
    Io {
        /// What was tried, in the system's word: `mkdir`, `open`, `stat`.
        operation: &'static str,
        /// Where, and why not.
        source: PathError,
    },
    /// The layers could not be read or written.
    #[error(transparent)]
    Snapshot(SnapshotError),
    /// An archive could not be unpacked.
    #[error("unpack {path}: {source}")]
    Unpack {
        /// The archive.
        path: String,
        /// What is wrong with it, or with where it goes.
        source: ContentError,
    },
}

impl From<SnapshotError> for FileOpError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            other => Self::Snapshot(other),
        }
    }
}

impl FileOpError {
    /// Names what was to be copied where; whoever cancelled knows that.
    pub(crate) fn of_copy(self, action: &CopyAction) -> Self {
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        match self {
            Self::Cancelled(cancelled) => Self::Cancelled(cancelled),
            cause => Self::Copy {
                from: text(&action.source),
                to: text(&action.destination),
                cause: Box::new(cause),
            },
        }
    }

    /// Returns the error that the system has as `errno` for `operation` at `path`.
    pub(crate) fn system(
        operation: &'static str,
        path: impl std::fmt::Display,
        errno: rustix::io::Errno,
    ) -> Self {
        let source = Err::<(), _>(errno).at(path).expect_err("made as an error");
        Self::Io { operation, source }
    }
}
