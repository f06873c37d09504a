//! Why the history cannot do what was asked.

use lamina_types::BlockingError;
use lamina_types::PathError;

/// The history could not do what was asked. The words are those that clients know.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// There is no such record to change (row CTL-25).
    #[error("failed to retrieve ref {0}: file does not exist")]
    NotFound(String),
    /// There is no such record to delete (row CTL-26).
    #[error("lease \"ref_{0}\": not found")]
    NothingToDelete(String),
    /// The record is being deleted (row CTL-16).
    #[error("ref {0} is deleted: file does not exist")]
    Deleted(String),
    /// The request makes no sense (rows CTL-18, CTL-19).
    #[error("{0}")]
    Invalid(String),
    /// The database could not be read or written.
    #[error("build history: {0}")]
    Database(#[source] Box<redb::Error>),
    /// A blob could not be written.
    #[error("build history: {0}")]
    Blob(#[from] PathError),
    /// The work could not be done.
    #[error(transparent)]
    Blocking(#[from] BlockingError),
}

impl From<redb::Error> for HistoryError {
    fn from(error: redb::Error) -> Self {
        Self::Database(Box::new(error))
    }
}
