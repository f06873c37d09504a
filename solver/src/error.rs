//! Why a solve failed, and where.

use std::error::Error;
use std::sync::Arc;

use lamina_types::Cancelled;
use lamina_types::Digest;

use crate::op::OpError;

/// The error of a solve: the op's error and the vertex that it came from.
///
/// `source` may wrap the op's own error to say what the op was doing (`failed to compute cache
/// key: ..`), so look for a type with [`SolveError::find`] and not at the outermost error only.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{source}")]
pub struct SolveError {
    /// Digest of the failing vertex, as the build that asked knows it.
    pub vertex: Digest,
    /// Its name.
    pub vertex_name: String,
    /// What went wrong.
    #[source]
    pub source: OpError,
}

impl SolveError {
    /// Says whether the work was stopped rather than failed.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.find::<Cancelled>().is_some()
    }

    /// Returns the first error of type `T` in the chain of sources.
    #[must_use]
    pub fn find<T: Error + 'static>(&self) -> Option<&T> {
        let mut error: &(dyn Error + 'static) = &*self.source;
        loop {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            error = error.source()?;
        }
    }

    pub(crate) fn cancelled(vertex: Digest, vertex_name: &str) -> Self {
        Self {
            vertex,
            vertex_name: vertex_name.to_owned(),
            source: Arc::new(Cancelled),
        }
    }
}

/// What went wrong around an op, where that is not the op's own error.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The op could not tell its cache key.
    #[error("failed to load cache key: {0}")]
    CacheMap(#[source] OpError),
    /// The content of an input could not be read.
    #[error("failed to compute cache key: {0}")]
    ContentDigest(#[source] OpError),
    /// The op panicked; a defect of this program.
    #[error("internal error: step panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// The op returned fewer values than the graph uses.
    #[error("internal error: output {output} was asked of a step with {outputs} outputs")]
    MissingOutput {
        /// What was asked for.
        output: usize,
        /// How many values the op returned.
        outputs: usize,
    },
}
