//! The error that a build ends with, and how errors of ops become one.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use lamina_proto::pb;
use lamina_solver::OpError;
use lamina_solver::SolveError;
use lamina_types::Digest;

use crate::Reference;
use crate::Snapshot;
use crate::definition::LoadError;
use crate::ops::Leftovers;
use crate::ops::OpFailure;
use crate::policy::PolicyError;

/// What a key of a description begins with if its value says why a path of an input is missing.
const MISSING: &str = "lamina.missing:";

/// Returns the key under which the description of a step says why it will not find `path`, which is
/// absolute and clean. If it does not, the error ends with that reason.
#[must_use]
pub fn missing_key(path: &str) -> String {
    format!("{MISSING}{path}")
}

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
    /// The frontend that failed (row ERR-10).
    pub frontend: Option<FrontendName>,
    /// The capability that the frontend lacks (row ERR-07).
    pub frontend_cap: Option<String>,
    /// The request that the frontend does not know (row ERR-08).
    pub subrequest: Option<String>,
    /// What is left of the op that failed (rows ERR-03 to ERR-05).
    pub solve: Option<Arc<SolveFailure>>,
    /// A source is not there or nobody could be asked for it: others may do.
    pub unavailable: bool,
    /// gRPC code, if it came with one from elsewhere (row NET-14).
    pub code: Option<i32>,
    /// Details from elsewhere that mean nothing here: type and value (row NET-13).
    pub foreign: Vec<(String, Vec<u8>)>,
}

/// Names a frontend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontendName {
    /// `dockerfile.v0` or `gateway.v0`.
    pub name: String,
    /// The image of a gateway frontend.
    pub source: String,
}

/// What is left of an op that failed, for those who want to look at it (row ERR-03).
#[derive(Debug, Clone)]
pub struct SolveFailure {
    /// The op, encoded as received.
    pub op: Vec<u8>,
    /// Its description.
    pub description: BTreeMap<String, String>,
    /// Its inputs, one for each mount of an exec or input of a file op.
    pub inputs: Vec<Option<Reference>>,
    /// What the mounts of an exec, or the results of a file op's actions, are like now.
    pub mounts: Vec<Option<Reference>>,
    /// What of the op failed.
    pub subject: SolveSubject,
}

/// What of an op failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SolveSubject {
    /// All of it.
    Op,
    /// The action of a file op with this index (row ERR-04).
    FileAction(i64),
    /// The content key of the input with this index (row ERR-05).
    Content(i64),
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

    /// Makes the error of a definition that cannot be run: with excerpts, if an op is to blame, but
    /// without its digest, since that names a step that ran (row ERR-01).
    pub(crate) fn refused(error: &LoadError, definition: &pb::Definition) -> Self {
        let source = definition.source.as_ref();
        let sources = error.vertex().zip(source);
        Self {
            sources: sources.map_or_else(Vec::new, |(vertex, source)| excerpts(source, &vertex)),
            ..Self::new(format!("failed to load LLB: {error}"))
        }
    }

    /// Makes the error of a container that cannot be had.
    pub(crate) fn of_container(failure: OpFailure) -> Self {
        match failure {
            OpFailure::Cancelled(_) => Self::cancelled(),
            failure => Self::new(failure.to_string()),
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

    /// Adds what `definition` knows of the failing vertex: the excerpts of the user's files,
    /// and the op, as far as they are not there yet.
    #[must_use]
    pub(crate) fn with_definition(mut self, definition: &pb::Definition) -> Self {
        let source = definition.source.as_ref();
        if let (Some(vertex), Some(source), true) = (self.vertex, source, self.sources.is_empty()) {
            self.sources = excerpts(source, &vertex);
        }
        if let (Some(vertex), Some(solve)) = (self.vertex, &mut self.solve)
            && solve.op.is_empty()
        {
            Arc::make_mut(solve).describe(definition, &vertex);
            self.explain_missing();
        }
        self
    }

    /// Adds why a path is missing, if the op's description has a reason.
    fn explain_missing(&mut self) {
        let Some(solve) = &self.solve else {
            return;
        };
        let reason = solve.description.iter().find_map(|(key, reason)| {
            let path = key.strip_prefix(MISSING)?;
            let ends = self.message.ends_with(&format!("{path:?}: not found"));
            ends.then_some(reason)
        });
        if let Some(reason) = reason {
            self.message = format!("{}: {reason}", self.message);
        }
    }

    /// Says which frontend failed, if none is named yet: the innermost is the one that knows.
    #[must_use]
    pub(crate) fn with_frontend(mut self, frontend: FrontendName) -> Self {
        self.frontend.get_or_insert(frontend);
        self
    }
}

impl SolveFailure {
    fn new(left: &Leftovers) -> Self {
        let references = |snapshots: &[Option<Snapshot>]| {
            let reference = |snapshot: &Option<Snapshot>| snapshot.clone().map(Reference::fixed);
            snapshots.iter().map(reference).collect()
        };
        Self {
            op: Vec::new(),
            description: BTreeMap::new(),
            inputs: references(&left.inputs),
            mounts: references(&left.mounts),
            subject: left.subject,
        }
    }

    /// Fills in the op `vertex` of `definition`.
    fn describe(&mut self, definition: &pb::Definition, vertex: &Digest) {
        let op = definition.def.iter().find(|op| Digest::of(op) == *vertex);
        self.op = op.cloned().unwrap_or_default();
        let metadata = definition.metadata.get(&vertex.to_string());
        let description = metadata.map(|metadata| metadata.description.clone());
        self.description = description.unwrap_or_default().into_iter().collect();
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
        let failure = failure(&error);
        if error.is_cancelled() || matches!(failure, Some(OpFailure::Cancelled(_))) {
            return Self {
                vertex: Some(error.vertex),
                ..Self::cancelled()
            };
        }
        if let Some(OpFailure::Nested(nested)) = failure {
            return (**nested).clone();
        }
        Self {
            message: error.to_string(),
            vertex: Some(error.vertex),
            exit_code: failure.and_then(OpFailure::exit_code),
            solve: failure
                .and_then(OpFailure::left)
                .map(|left| Arc::new(SolveFailure::new(left))),
            ..Self::default()
        }
    }
}

/// Returns the op's own failure, also where the solver has wrapped it in what it was doing.
fn failure(error: &SolveError) -> Option<&OpFailure> {
    let mut error: &(dyn Error + 'static) = &*error.source;
    loop {
        // Shared errors hide what they share.
        if let Some(shared) = error.downcast_ref::<OpError>() {
            error = &**shared;
        }
        if let Some(failure) = error.downcast_ref() {
            return Some(failure);
        }
        error = error.source()?;
    }
}

impl From<PolicyError> for BuildError {
    fn from(error: PolicyError) -> Self {
        Self::new(format!(
            "failed to load LLB: error evaluating the source policy: {error}"
        ))
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

    fn source_map(vertex: &Digest, index: i32) -> pb::Definition {
        let location = pb::Location {
            source_index: index,
            ranges: vec![pb::Range::default()],
        };
        let locations = pb::Locations {
            locations: vec![location],
        };
        let source = pb::Source {
            locations: [(vertex.to_string(), locations)].into(),
            infos: vec![pb::SourceInfo {
                filename: "Dockerfile".to_owned(),
                ..pb::SourceInfo::default()
            }],
        };
        pb::Definition {
            source: Some(source),
            ..pb::Definition::default()
        }
    }

    #[test]
    fn a_missing_path_is_explained_once() {
        let op = b"op".to_vec();
        let vertex = Digest::of(&op);
        let reason = "COPY a: a was excluded by .dockerignore line 3";
        let metadata = pb::OpMetadata {
            description: [(missing_key("/a"), reason.to_owned())].into(),
            ..pb::OpMetadata::default()
        };
        let definition = pb::Definition {
            def: vec![op],
            metadata: [(vertex.to_string(), metadata)].into(),
            ..pb::Definition::default()
        };
        let left = Leftovers {
            inputs: Vec::new(),
            mounts: Vec::new(),
            subject: SolveSubject::Content(0),
        };
        for (message, wanted) in [
            ("ref x: \"/a\": not found", Some(reason)),
            ("ref x: \"/ba\": not found", None),
            ("\"/a\": not found here", None),
        ] {
            let error = BuildError {
                vertex: Some(vertex),
                solve: Some(Arc::new(SolveFailure::new(&left))),
                ..BuildError::new(message)
            };
            let error = error.with_definition(&definition);
            let error = error.with_definition(&definition);
            let wanted = wanted.map_or(message.to_owned(), |reason| format!("{message}: {reason}"));
            assert_eq!(error.message, wanted);
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
            let error = error.with_definition(&source_map(&vertex, index));
            assert_eq!(error.sources.len(), count, "index {index}");
        }
        let other = BuildError::new("failed").with_definition(&source_map(&vertex, 0));
        assert!(other.sources.is_empty());
    }
}
