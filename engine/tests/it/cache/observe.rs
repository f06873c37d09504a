//! What the stream of one build shows: who ran, what was logged.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Mutex;

use lamina_solver::Event;
use lamina_solver::VertexEvent;
use lamina_types::Digest;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use super::scenario::Sign;

/// The stream of one build, so far.
#[derive(Default)]
pub(super) struct Stream {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    vertices: HashMap<Digest, VertexEvent>,
    logs: HashMap<Digest, Vec<u8>>,
    ended: bool,
}

/// The last state of a vertex name; several vertices may share a name.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) cached: bool,
    /// The ids that runs printed, in order.
    pub(super) runs: Vec<String>,
}

impl Stream {
    /// Takes events until the build has ended.
    pub(super) async fn follow(&self, mut events: UnboundedReceiver<Event>) {
        while let Some(event) = events.recv().await {
            {
                let mut state = self.state.lock().expect("not poisoned");
                match event {
                    Event::Vertex(vertex) => drop(state.vertices.insert(vertex.digest, vertex)),
                    Event::Log { vertex, data, .. } => {
                        state.logs.entry(vertex).or_default().extend(data);
                    }
                    Event::Status { .. } | Event::Warning { .. } => {}
                }
            }
            self.changed.notify_waiters();
        }
        self.state.lock().expect("not poisoned").ended = true;
        self.changed.notify_waiters();
    }

    /// Waits until the stream shows `sign`, or has ended.
    pub(super) async fn wait_for(&self, sign: &Sign) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.state.lock().expect("not poisoned").shows(sign) {
                return;
            }
            changed.await;
        }
    }

    /// Returns what became of the vertices with these digests, by name.
    pub(super) fn seen(&self, names: &HashMap<Digest, String>) -> BTreeMap<String, Seen> {
        let state = self.state.lock().expect("not poisoned");
        let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
        for (digest, name) in names {
            let Some(vertex) = state.vertices.get(digest) else {
                continue;
            };
            let row = seen.entry(name.clone()).or_default();
            row.cached = vertex.cached;
            let log = state.logs.get(digest).map_or(&[][..], Vec::as_slice);
            row.runs.extend(runs(log));
        }
        seen
    }
}

impl State {
    fn shows(&self, sign: &Sign) -> bool {
        self.ended
            || self.vertices.values().any(|vertex| {
                let log = self
                    .logs
                    .get(&vertex.digest)
                    .map(|log| String::from_utf8_lossy(log));
                vertex.name == sign.vertex
                    && match sign.text.as_str() {
                        "@started" => vertex.started.is_some(),
                        text => log.is_some_and(|log| log.contains(text)),
                    }
            })
    }
}

/// The ids in lines `RAN <id>`.
fn runs(log: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(log);
    text.lines()
        .filter_map(|line| line.strip_prefix("RAN "))
        .map(str::to_owned)
        .collect()
}
