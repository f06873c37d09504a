//! From steps to the solver's vertices.

use std::sync::Arc;

use lamina_solver::Edge;
use lamina_solver::Vertex;

use super::Graph;
use super::Link;
use crate::Services;
use crate::Snapshot;
use crate::ops;
use crate::ops::BuildContext;

type SnapshotVertex = Vertex<Snapshot, BuildContext>;

impl Graph {
    /// Returns the result's edge; the vertices that it needs hang on it.
    pub(crate) fn into_edge(self, services: &Arc<Services>) -> Edge<Snapshot, BuildContext> {
        let mut vertices: Vec<Arc<SnapshotVertex>> = Vec::with_capacity(self.nodes.len());
        for node in self.nodes {
            let inputs = node
                .inputs
                .iter()
                .map(|&link| edge(&vertices, link))
                .collect();
            vertices.push(Arc::new(Vertex {
                digest: node.digest,
                op: ops::op(node.step, &node.name, services),
                name: node.name,
                inputs,
                ignore_cache: node.ignore_cache,
                progress_group: node.progress_group,
            }));
        }
        edge(&vertices, self.result)
    }
}

/// Links name earlier nodes only, and loading checked that the output exists.
fn edge(vertices: &[Arc<SnapshotVertex>], link: Link) -> Edge<Snapshot, BuildContext> {
    Edge {
        vertex: Arc::clone(&vertices[link.node]),
        output: link.output,
    }
}
