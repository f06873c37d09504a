//! Why disk usage cannot be told or changed.

use lamina_content::ContentError;
use lamina_snapshotter::SnapshotError;
use lamina_types::BlockingError;

use crate::filter::FilterError;

/// Disk usage could not be told or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// A filter makes no sense.
    #[error("failed to parse filter {filter:?}: {reason}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A number of the request makes no sense.
    #[error("{name} is negative: {value}")]
    Negative {
        /// Which.
        name: &'static str,
        /// What was given.
        value: i64,
    },
    /// Blobs could not be deleted.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Layers could not be looked at or removed.
    #[error(transparent)]
    Layers(#[from] SnapshotError),
    /// The work could not be done.
    #[error(transparent)]
    Blocking(#[from] BlockingError),
}

impl From<(String, FilterError)> for UsageError {
    fn from((filter, error): (String, FilterError)) -> Self {
        Self::Filter {
            filter,
            reason: error.to_string(),
        }
    }
}
