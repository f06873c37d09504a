//! The graph that a build hands in: vertices, and the edges that name their outputs.

use std::fmt;
use std::sync::Arc;

use lamina_types::Digest;

use crate::op::Op;

/// A node of the graph: what to do, and to the outputs of which other nodes.
///
/// Two builds that bring a vertex of one digest share its work; see [`Solver`](crate::Solver).
pub struct Vertex<V, C> {
    /// Digest of the op's bytes as the client sent them; clients know the vertex by it (CSTA-04).
    pub digest: Digest,
    /// What a watcher is shown.
    pub name: String,
    /// What the vertex does.
    pub op: Arc<dyn Op<V, C>>,
    /// The outputs that the op reads, in the op's order.
    pub inputs: Vec<Edge<V, C>>,
    /// Run even if a record exists, and let no consumer find a record through this vertex's key.
    pub ignore_cache: bool,
    /// The heading under which a watcher shows the vertex.
    pub progress_group: Option<ProgressGroup>,
}

/// A heading for vertices that belong together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgressGroup {
    /// Equal for all members.
    pub id: String,
    /// The heading's text.
    pub name: String,
    /// Whether a stronger group may replace this one.
    pub weak: bool,
}

/// One output of a vertex.
pub struct Edge<V, C> {
    /// The vertex.
    pub vertex: Arc<Vertex<V, C>>,
    /// Which of its outputs, from 0.
    pub output: usize,
}

impl<V, C> Clone for Edge<V, C> {
    fn clone(&self) -> Self {
        Self {
            vertex: Arc::clone(&self.vertex),
            output: self.output,
        }
    }
}

impl<V, C> fmt::Debug for Edge<V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.vertex.name, self.output)
    }
}

/// Frees a graph without recursion: chains of many thousand vertices are legal input.
impl<V, C> Drop for Vertex<V, C> {
    fn drop(&mut self) {
        let mut pending = std::mem::take(&mut self.inputs);
        while let Some(edge) = pending.pop() {
            if let Some(mut vertex) = Arc::into_inner(edge.vertex) {
                pending.append(&mut vertex.inputs);
            }
        }
    }
}
