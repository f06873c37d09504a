//! The event stream of one build.
//!
//! Vertices tell what happens to them (`feed`); what a build's watcher sees depends on the build's
//! own graph as well:
//!
//! - inputs that never started when a dependant does were not needed, so they are shown as cached,
//!   with the dependant's start as their only time (CSTA-06);
//! - at the end of the build, what has started and not completed is shown as cancelled (CSTA-07).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;

use lamina_types::Digest;

use crate::backlog::EventSender;
use crate::events::Event;
use crate::events::VertexEvent;

/// Sends events to a build's watcher. A watcher that went away is no error.
pub(crate) struct Stream {
    events: EventSender,
    seen: Mutex<HashMap<Digest, VertexEvent>>,
}

impl Stream {
    pub(crate) fn new(events: EventSender) -> Self {
        Self {
            events,
            seen: Mutex::default(),
        }
    }

    /// Passes on an event, after the events of inputs that it implies.
    pub(crate) fn send(&self, event: Event) {
        match event {
            Event::Vertex(event) => self.send_vertex(event),
            other => self.pass(other),
        }
    }

    /// Says whether the watcher is far behind.
    pub(crate) fn is_behind(&self) -> bool {
        self.events.is_behind()
    }

    /// Shows a vertex without times, unless the build knows it already.
    pub(crate) fn announce(&self, event: VertexEvent) {
        let mut seen = self.seen();
        if let Entry::Vacant(unknown) = seen.entry(event.digest) {
            unknown.insert(event.clone());
            self.pass(Event::Vertex(event));
        }
    }

    /// Completes what is running, for the watcher's eyes (CSTA-07).
    pub(crate) fn close(&self) {
        let mut seen = self.seen();
        let running = seen.values_mut().filter(|event| is_running(event));
        let mut events: Vec<_> = running.collect();
        events.sort_by_key(|event| event.started);
        for event in events {
            event.completed = Some(SystemTime::now());
            event.error = (!event.cached).then(|| lamina_types::Cancelled.to_string());
            self.pass(Event::Vertex(event.clone()));
        }
    }

    fn send_vertex(&self, event: VertexEvent) {
        let mut seen = self.seen();
        if let Some(started) = event.started {
            self.mark_inputs_cached(&mut seen, event.inputs.clone(), started);
        }
        seen.insert(event.digest, event.clone());
        self.pass(Event::Vertex(event));
    }

    fn mark_inputs_cached(
        &self,
        seen: &mut HashMap<Digest, VertexEvent>,
        mut pending: Vec<Digest>,
        time: SystemTime,
    ) {
        while let Some(digest) = pending.pop() {
            let Some(input) = seen.get_mut(&digest) else {
                continue;
            };
            if input.started.is_some() {
                continue;
            }
            input.cached = true;
            input.started = Some(time);
            input.completed = Some(time);
            pending.extend(&input.inputs);
            self.pass(Event::Vertex(input.clone()));
        }
    }

    fn pass(&self, event: Event) {
        self.events.send(event);
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<Digest, VertexEvent>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_running(event: &VertexEvent) -> bool {
    event.started.is_some() && event.completed.is_none()
}
