//! The events that wait, merged.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use lamina_solver::Backlog;
use lamina_solver::Event;
use lamina_types::Digest;
use lamina_types::LogStream;
use tokio::time::Instant;

use super::MAX_WEIGHT;

/// What was told and not shown, in the order in which it was told.
pub(super) struct Pending {
    /// By number.
    events: BTreeMap<u64, Event>,
    next: u64,
    /// The numbers of logs, oldest first.
    logs: VecDeque<u64>,
    /// What those weigh.
    weight: usize,
    /// The numbers of the states of actions.
    statuses: HashMap<(Digest, String), u64>,
    /// The number of the last event of each vertex.
    last: HashMap<Digest, u64>,
    /// Bytes of each vertex that were left out since the last of its events was shown.
    left_out: HashMap<Digest, usize>,
    /// Vertices whose output, as far as it was shown, ends within a line.
    within_line: HashSet<Digest>,
    /// When an event was shown last, or came when there was none.
    moved: Instant,
    /// Nothing more is told.
    closed: bool,
    /// Nothing more is shown.
    abandoned: bool,
    backlog: Option<Arc<Backlog>>,
}

impl Pending {
    pub(super) fn new(backlog: Option<Arc<Backlog>>) -> Self {
        Self {
            events: BTreeMap::new(),
            next: 0,
            logs: VecDeque::new(),
            weight: 0,
            statuses: HashMap::new(),
            last: HashMap::new(),
            left_out: HashMap::new(),
            within_line: HashSet::new(),
            moved: Instant::now(),
            closed: false,
            abandoned: false,
            backlog,
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Drops everything, now and later.
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
        while self.take().is_some() {}
    }

    pub(super) fn is_full(&self) -> bool {
        self.weight > MAX_WEIGHT
    }

    pub(super) fn moved(&self) -> Instant {
        self.moved
    }

    /// Adds an event, in the place of one that it makes old.
    pub(super) fn put(&mut self, event: Event) {
        if self.events.is_empty() {
            self.moved = Instant::now();
        }
        let number = match self.made_old(&event) {
            Some(number) => number,
            None => self.append(&event),
        };
        self.events.insert(number, event);
        if self.abandoned {
            drop(self.take());
        }
    }

    fn append(&mut self, event: &Event) -> u64 {
        let number = self.next;
        self.next += 1;
        self.last.insert(*vertex(event), number);
        match event {
            Event::Log { data, .. } => {
                self.logs.push_back(number);
                self.weight += weight(data);
            }
            Event::Status { vertex, status } => {
                let action = (*vertex, status.id.clone());
                self.statuses.insert(action, number);
            }
            Event::Vertex(_) | Event::Warning { .. } => {}
        }
        number
    }

    /// Returns the number of the event that says an older state of the same: of an action, or of a
    /// vertex of which nothing else was told since, and which had not ended.
    fn made_old(&self, event: &Event) -> Option<u64> {
        match event {
            Event::Status { vertex, status } => {
                let action = (*vertex, status.id.clone());
                self.statuses.get(&action).copied()
            }
            Event::Vertex(vertex) => {
                let last = *self.last.get(&vertex.digest)?;
                let begun = matches!(
                    self.events.get(&last)?,
                    Event::Vertex(before) if before.completed.is_none()
                );
                begun.then_some(last)
            }
            Event::Log { .. } | Event::Warning { .. } => None,
        }
    }

    /// Takes the first event, or a line about output that would have come before it.
    pub(super) fn take(&mut self) -> Option<Event> {
        self.moved = Instant::now();
        let first = self.events.first_key_value().map(|(_, event)| event);
        let of = first.map(vertex).or_else(|| self.left_out.keys().next());
        if let Some(notice) = of.copied().and_then(|vertex| self.notice(vertex)) {
            return Some(notice);
        }
        let (number, event) = self.events.pop_first()?;
        self.forget(number, &event);
        if let Event::Log { vertex, data, .. } = &event {
            match data.last() {
                Some(b'\n') => self.within_line.remove(vertex),
                _ => self.within_line.insert(*vertex),
            };
        }
        Some(event)
    }

    /// Removes what is known of an event that waits no more.
    fn forget(&mut self, number: u64, event: &Event) {
        let vertex = vertex(event);
        if self.last.get(vertex) == Some(&number) {
            self.last.remove(vertex);
        }
        match event {
            Event::Log { data, .. } => {
                self.logs.pop_front();
                self.weight -= weight(data);
                if let Some(backlog) = &self.backlog {
                    backlog.take(data.len());
                }
            }
            Event::Status { vertex, status } => {
                self.statuses.remove(&(*vertex, status.id.clone()));
            }
            Event::Vertex(_) | Event::Warning { .. } => {}
        }
    }

    /// Leaves out the oldest logs until the rest is not too much.
    pub(super) fn leave_out(&mut self) {
        while self.is_full() {
            let Some(number) = self.logs.front().copied() else {
                return;
            };
            let Some(event) = self.events.remove(&number) else {
                return;
            };
            self.forget(number, &event);
            if let Event::Log { vertex, data, .. } = &event {
                *self.left_out.entry(*vertex).or_default() += data.len();
            }
        }
    }

    /// Returns the line about what was left out of a vertex's output, if something was.
    fn notice(&mut self, vertex: Digest) -> Option<Event> {
        let bytes = self.left_out.remove(&vertex)?;
        let end = match self.within_line.remove(&vertex) {
            true => "\n",
            false => "",
        };
        let text = format!("{end}[... {bytes} bytes left out: the screen did not take them ...]\n");
        Some(Event::Log {
            vertex,
            stream: LogStream::Stderr,
            data: text.into_bytes(),
            time: SystemTime::now(),
        })
    }
}

fn vertex(event: &Event) -> &Digest {
    match event {
        Event::Vertex(event) => &event.digest,
        Event::Status { vertex, .. }
        | Event::Log { vertex, .. }
        | Event::Warning { vertex, .. } => vertex,
    }
}

/// Pieces of output may be single bytes, so what it takes to keep one counts.
fn weight(data: &[u8]) -> usize {
    data.len() + size_of::<Event>()
}

#[cfg(test)]
mod tests {
    use lamina_solver::VertexEvent;
    use lamina_types::StepStatus;

    use super::*;

    fn state(name: &str, has_ended: bool) -> Event {
        let now = SystemTime::UNIX_EPOCH;
        Event::Vertex(VertexEvent {
            digest: Digest::of(name.as_bytes()),
            inputs: Vec::new(),
            name: name.to_owned(),
            cached: false,
            started: Some(now),
            completed: has_ended.then_some(now),
            error: None,
            progress_group: None,
        })
    }

    fn action(of: &str, id: &str, current: u64) -> Event {
        Event::Status {
            vertex: Digest::of(of.as_bytes()),
            status: StepStatus {
                id: id.to_owned(),
                name: id.to_owned(),
                current,
                total: 0,
                started: None,
                completed: None,
            },
        }
    }

    fn log(of: &str, text: &str) -> Event {
        Event::Log {
            vertex: Digest::of(of.as_bytes()),
            stream: LogStream::Stdout,
            data: text.as_bytes().to_vec(),
            time: SystemTime::UNIX_EPOCH,
        }
    }

    /// What is shown of events, in a few words.
    fn shown(pending: &mut Pending) -> Vec<String> {
        let words = |event| match event {
            Event::Vertex(vertex) if vertex.completed.is_some() => format!("{} ends", vertex.name),
            Event::Vertex(vertex) => format!("{} begins", vertex.name),
            Event::Status { status, .. } => format!("{} {}", status.id, status.current),
            Event::Log { data, .. } => String::from_utf8_lossy(&data).into_owned(),
            Event::Warning { warning, .. } => warning.short,
        };
        std::iter::from_fn(|| pending.take()).map(words).collect()
    }

    #[test]
    fn old_states_are_replaced_and_the_order_of_output_stays() {
        let mut pending = Pending::new(None);
        for event in [
            state("a", false),
            state("b", false),
            state("b", true),
            log("a", "one"),
            action("a", "pull", 1),
            action("b", "pull", 1),
            log("a", "two"),
            action("a", "pull", 2),
            state("a", true),
            state("a", false),
        ] {
            pending.put(event);
        }
        let expected = [
            "a begins", "b ends", "one", "pull 2", "pull 1", "two", "a ends", "a begins",
        ];
        assert_eq!(shown(&mut pending), expected);
        pending.put(action("a", "pull", 3));
        assert_eq!(shown(&mut pending), ["pull 3"]);
        let empty = (pending.weight, pending.last.len(), pending.statuses.len());
        assert_eq!(empty, (0, 0, 0));
    }

    #[test]
    fn what_is_left_out_is_told_in_its_place() {
        let backlog = Arc::new(Backlog::default());
        let mut pending = Pending::new(Some(backlog));
        let much = "x".repeat(MAX_WEIGHT / 2);
        pending.put(log("a", "half a"));
        pending.put(log("b", "whole\n"));
        assert_eq!(shown(&mut pending), ["half a", "whole\n"]);
        for event in [
            state("a", false),
            log("a", &much),
            log("b", &much),
            log("a", "end"),
            state("b", true),
        ] {
            pending.put(event);
        }
        pending.leave_out();
        assert!(!pending.is_full());
        let notice = format!(
            "\n[... {} bytes left out: the screen did not take them ...]\n",
            much.len()
        );
        let expected = [notice.as_str(), "a begins", &much, "end", "b ends"];
        assert_eq!(shown(&mut pending), expected);
    }

    /// Also of what nothing is told any more.
    #[test]
    fn nothing_is_left_out_in_silence() {
        let mut pending = Pending::new(None);
        pending.put(log("a", &"x".repeat(MAX_WEIGHT)));
        pending.leave_out();
        let shown = shown(&mut pending);
        assert_eq!(shown.len(), 1);
        assert!(shown[0].contains("bytes left out"), "{shown:?}");
    }

    #[test]
    fn single_bytes_are_bounded_too() {
        let mut pending = Pending::new(None);
        for _ in 0..2 * MAX_WEIGHT / size_of::<Event>() {
            pending.put(log("a", "x"));
            pending.leave_out();
        }
        assert!(pending.events.len() < MAX_WEIGHT / size_of::<Event>());
    }
}
