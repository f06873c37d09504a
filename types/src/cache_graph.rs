//! What was computed from what, on its way between the solver and a cache elsewhere (row CEX-03).
//!
//! ```text
//! record  digest, inputs[i] = any of (selector, record), results
//! ```
//! A record without inputs stands for the id of a source or of a piece of content, and its digest
//! is that id. Another record stands for one output of an op, applied to any combination of the
//! alternatives that it lists for each input; its digest names op and output alone.

use std::time::SystemTime;

use crate::Digest;

/// What was computed from what. `R` is a result.
#[derive(Clone, Debug)]
pub struct CacheGraph<R> {
    /// In any order; they name each other by their places.
    pub records: Vec<GraphRecord<R>>,
}

/// One output of one computation, or a piece of content.
#[derive(Clone, Debug)]
pub struct GraphRecord<R> {
    /// Names the op and its output, or what a record without inputs stands for.
    pub digest: Digest,
    /// For each input of the op, who it may be; never empty for an input.
    pub inputs: Vec<Vec<GraphLink>>,
    /// What the computation gave; none = only its key is known.
    pub results: Vec<GraphResult<R>>,
}

/// Who an input may be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GraphLink {
    /// What is used of it.
    pub selector: Option<Digest>,
    /// Its place in [`CacheGraph::records`].
    pub record: usize,
}

/// A result with its age.
#[derive(Clone, Debug)]
pub struct GraphResult<R> {
    /// The result.
    pub value: R,
    /// When it was made.
    pub created: SystemTime,
}

impl<R> Default for CacheGraph<R> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
        }
    }
}

impl<R> CacheGraph<R> {
    /// Returns the same records with other results; `map` leaves out what has none.
    pub fn map<S>(self, mut map: impl FnMut(R) -> Option<S>) -> CacheGraph<S> {
        let mut result = |result: GraphResult<R>| {
            Some(GraphResult {
                value: map(result.value)?,
                created: result.created,
            })
        };
        let records = self.records.into_iter().map(|record| GraphRecord {
            digest: record.digest,
            inputs: record.inputs,
            results: record.results.into_iter().filter_map(&mut result).collect(),
        });
        CacheGraph {
            records: records.collect(),
        }
    }
}
