//! What a build's watcher sees (rows CSTA-02 to CSTA-13).

use std::time::SystemTime;

use lamina_types::Digest;
use lamina_types::LogStream;
use lamina_types::StepStatus;
use lamina_types::Warning;

use crate::graph::ProgressGroup;

/// One change. Later vertex events replace earlier ones of the same digest (CSTA-02).
#[derive(Clone, Debug)]
pub enum Event {
    /// A vertex is known, has started or has ended.
    Vertex(VertexEvent),
    /// The state of one action inside a vertex (CSTA-09).
    Status {
        /// Whose action.
        vertex: Digest,
        /// Its state; replaces an earlier one of the same id.
        status: StepStatus,
    },
    /// Raw output of a vertex (CSTA-10).
    Log {
        /// Whose output.
        vertex: Digest,
        /// Which of the process's streams.
        stream: LogStream,
        /// Bytes, not cut into lines.
        data: Vec<u8>,
        /// When it was written.
        time: SystemTime,
    },
    /// A warning for the user (CSTA-13).
    Warning {
        /// What it is about.
        vertex: Digest,
        /// What it says.
        warning: Warning,
    },
}

/// The whole state of a vertex (CSTA-04).
#[derive(Clone, Debug)]
pub struct VertexEvent {
    /// The vertex's digest.
    pub digest: Digest,
    /// Digests of its inputs' vertices.
    pub inputs: Vec<Digest>,
    /// What it is shown as.
    pub name: String,
    /// Its result came from the cache, or was not needed at all (CSTA-06).
    pub cached: bool,
    /// When work began.
    pub started: Option<SystemTime>,
    /// When work ended.
    pub completed: Option<SystemTime>,
    /// Why it failed.
    pub error: Option<String>,
    /// The heading to show it under.
    pub progress_group: Option<ProgressGroup>,
}
