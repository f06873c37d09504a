//! What became of a build's vertices: for the closing sweep and for the history.

use std::collections::HashMap;
use std::time::SystemTime;

use lamina_solver::VertexEvent;
use lamina_types::Cancelled;
use lamina_types::Digest;

/// How many steps and warnings a build had (row CTL-21).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) total: i32,
    pub(crate) completed: i32,
    pub(crate) cached: i32,
    pub(crate) warnings: i32,
}

/// The last state of each vertex.
#[derive(Default)]
pub(super) struct Summary {
    vertices: HashMap<Digest, VertexEvent>,
    warnings: usize,
}

impl Summary {
    pub(super) fn vertex(&mut self, event: &VertexEvent) {
        self.vertices.insert(event.digest, event.clone());
    }

    pub(super) fn warning(&mut self) {
        self.warnings += 1;
    }

    /// Returns when a vertex last started.
    pub(super) fn started(&self, vertex: &Digest) -> Option<SystemTime> {
        self.vertices.get(vertex)?.started
    }

    /// Completes what has started and not ended (row CSTA-07); returns the changes in order.
    pub(super) fn close(&mut self) -> Vec<VertexEvent> {
        let now = SystemTime::now();
        let running =
            |event: &&mut VertexEvent| event.started.is_some() && event.completed.is_none();
        let mut closed: Vec<VertexEvent> = Vec::new();
        for event in self.vertices.values_mut().filter(running) {
            event.completed = Some(now);
            event.error = (!event.cached).then(|| Cancelled.to_string());
            closed.push(event.clone());
        }
        closed.sort_by_key(|event| (event.started, event.digest));
        closed
    }

    pub(super) fn counts(&self) -> Counts {
        let count = |wanted: fn(&VertexEvent) -> bool| {
            number(self.vertices.values().filter(|event| wanted(event)).count())
        };
        Counts {
            total: number(self.vertices.len()),
            completed: count(|event| event.completed.is_some()),
            cached: count(|event| event.cached),
            warnings: number(self.warnings),
        }
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
