//! The error that a build ends with, and how errors of ops become one.

use lamina_proto::pb;
use lamina_solver::SolveError;
use lamina_types::Digest;

use crate::definition::LoadError;
use crate::ops::OpFailure;

/// Error of a frontend or a solve; carries the typed details of rows ERR-01 to ERR-10 as data.
#[derive(Debug, Clone, Default, thiserror::Error)]
#[error("{message}")]
pub struct BuildError {
    /// What went wrong, as shown to the user.
    pub message: String,
    /// The vertex that failed (row ERR-01).
    pub vertex: Option<Digest>,
    /// Where in the user's files the failing vertex comes from (row ERR-02).
    pub sources: Vec<SourceExcerpt>,
    /// Exit code of the process that failed (row ERR-06).
    pub exit_code: Option<i32>,
    /// Nothing failed: the build was told to stop.
    pub cancelled: bool,
}

/// A part of one of the user's files.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceExcerpt {
    /// The whole file.
    pub info: pb::SourceInfo,
    /// Which lines of it.
    pub ranges: Vec<pb::Range>,
}

impl BuildError {
    /// Makes an error of a text alone.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    /// Makes the error of a build that was told to stop.
    #[must_use]
    pub fn cancelled() -> Self {
        Self {
            message: "context canceled".to_owned(),
            cancelled: true,
            ..Self::default()
        }
    }

    /// Adds the excerpts that `source` has for the failing vertex, if it has none yet.
    #[must_use]
    pub(crate) fn with_source_map(mut self, source: Option<&pb::Source>) -> Self {
        if let (Some(vertex), Some(source), true) = (self.vertex, source, self.sources.is_empty()) {
            self.sources = excerpts(source, &vertex);
        }
        self
    }
}

/// Returns what the source map knows of `vertex`; bad indices in it are skipped (row LLB-14).
fn excerpts(source: &pb::Source, vertex: &Digest) -> Vec<SourceExcerpt> {
    let Some(locations) = source.locations.get(&vertex.to_string()) else {
        return Vec::new();
    };
    let excerpt = |location: &pb::Location| {
        let index = usize::try_from(location.source_index).ok()?;
        Some(SourceExcerpt {
            info: source.infos.get(index)?.clone(),
            ranges: location.ranges.clone(),
        })
    };
    locations.locations.iter().filter_map(excerpt).collect()
}

impl From<SolveError> for BuildError {
    fn from(error: SolveError) -> Self {
        if error.is_cancelled() {
            return Self {
                vertex: Some(error.vertex),
                ..Self::cancelled()
            };
        }
        let failure = error.find::<OpFailure>();
        if let Some(OpFailure::Nested(nested)) = failure {
            return (**nested).clone();
        }
        Self {
            message: error.to_string(),
            vertex: Some(error.vertex),
            exit_code: failure.and_then(OpFailure::exit_code),
            ..Self::default()
        }
    }
}

impl From<LoadError> for BuildError {
    fn from(error: LoadError) -> Self {
        Self {
            message: format!("failed to load LLB: {error}"),
            vertex: error.vertex(),
            ..Self::default()
        }
    }
}

impl From<lamina_types::Cancelled> for BuildError {
    fn from(_: lamina_types::Cancelled) -> Self {
        Self::cancelled()
    }
}

impl From<lamina_types::BlockingError> for BuildError {
    fn from(error: lamina_types::BlockingError) -> Self {
        match error {
            lamina_types::BlockingError::Cancelled(cancelled) => cancelled.into(),
            other => Self::new(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source_map(vertex: &Digest, index: i32) -> pb::Source {
        let location = pb::Location {
            source_index: index,
            ranges: vec![pb::Range::default()],
        };
        let locations = pb::Locations {
            locations: vec![location],
        };
        pb::Source {
            locations: [(vertex.to_string(), locations)].into(),
            infos: vec![pb::SourceInfo {
                filename: "Dockerfile".to_owned(),
                ..pb::SourceInfo::default()
            }],
        }
    }

    #[test]
    fn excerpts_are_found_by_vertex_and_bad_indices_skipped() {
        let vertex = Digest::of(b"v");
        for (index, count) in [(0, 1), (1, 0), (-1, 0), (i32::MAX, 0)] {
            let error = BuildError {
                vertex: Some(vertex),
                ..BuildError::new("failed")
            };
            let error = error.with_source_map(Some(&source_map(&vertex, index)));
            assert_eq!(error.sources.len(), count, "index {index}");
        }
        let other = BuildError::new("failed").with_source_map(Some(&source_map(&vertex, 0)));
        assert!(other.sources.is_empty());
    }
}
