//! The state of a build as events tell it, kept once for all renderings.

use std::collections::HashMap;
use std::time::Duration;
use std::time::SystemTime;

use lamina_solver::Event;
use lamina_solver::VertexEvent;
use lamina_types::Digest;
use lamina_types::StepStatus;

use crate::visible::visible;
use crate::visible::visible_lines;

/// Log kept of each step, for the report of a failure; the oldest goes first.
const MAX_LOG_BYTES: usize = 2 << 20;

/// One step of the build: a vertex of the graph, or something beside it such as an export.
pub(crate) struct Step {
    /// Counted from 1 in the order in which steps appeared.
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) cached: bool,
    pub(crate) started: Option<SystemTime>,
    pub(crate) completed: Option<SystemTime>,
    pub(crate) error: Option<String>,
    /// In the order in which the actions began.
    pub(crate) statuses: Vec<StepStatus>,
    pub(crate) log: Log,
}

impl Step {
    /// Says whether the step has begun and not ended.
    pub(crate) fn is_running(&self) -> bool {
        self.started.is_some() && self.completed.is_none()
    }

    /// Returns how long the step has run so far, or ran.
    pub(crate) fn elapsed(&self, now: SystemTime) -> Duration {
        let end = self.completed.unwrap_or(now);
        self.started
            .and_then(|started| end.duration_since(started).ok())
            .unwrap_or_default()
    }
}

/// The end of a step's output, cut into lines.
#[derive(Default)]
pub(crate) struct Log {
    lines: std::collections::VecDeque<LogLine>,
    bytes: usize,
    partial: Vec<u8>,
}

/// A line and the time at which it was complete.
#[derive(Clone)]
pub(crate) struct LogLine {
    pub(crate) time: SystemTime,
    pub(crate) text: String,
}

impl Log {
    /// Takes output as it came and returns the lines that it completed.
    pub(crate) fn append(&mut self, data: &[u8], time: SystemTime) -> Vec<LogLine> {
        let mut complete = Vec::new();
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                complete.push(self.end_line(time));
            }
        }
        complete
    }

    /// Ends a line that has no newline; for the end of a step.
    pub(crate) fn flush(&mut self, time: SystemTime) -> Option<LogLine> {
        (!self.partial.is_empty()).then(|| self.end_line(time))
    }

    fn end_line(&mut self, time: SystemTime) -> LogLine {
        let raw = std::mem::take(&mut self.partial);
        let line = LogLine {
            time,
            text: printable(&raw),
        };
        self.bytes += line.text.len();
        self.lines.push_back(line.clone());
        while self.bytes > MAX_LOG_BYTES {
            let dropped = self.lines.pop_front().map_or(0, |line| line.text.len());
            self.bytes -= dropped;
        }
        line
    }

    /// Returns the last `count` lines, oldest first.
    pub(crate) fn tail(&self, count: usize) -> impl Iterator<Item = &LogLine> {
        self.lines
            .iter()
            .skip(self.lines.len().saturating_sub(count))
    }

    /// Returns all lines that were kept.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &LogLine> {
        self.lines.iter()
    }
}

/// Makes a line safe for a terminal: what follows the last carriage return, without control bytes.
fn printable(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let line = text.trim_end_matches(['\n', '\r']);
    let visible = line.rsplit('\r').next().unwrap_or_default();
    console::strip_ansi_codes(visible)
        .chars()
        .filter(|&c| c == '\t' || !c.is_control())
        .collect()
}

/// What an event changed, by the index of its step.
pub(crate) enum Change {
    /// The step's state: announced, started, completed.
    State(usize),
    /// Lines that were completed.
    Log(usize, Vec<LogLine>),
    /// An action inside the step.
    Status(usize, StepStatus),
    /// A warning.
    Warning(String),
}

/// All steps of a build. Every text in it can be shown on a terminal.
#[derive(Default)]
pub(crate) struct Steps {
    steps: Vec<Step>,
    by_digest: HashMap<Digest, usize>,
}

impl Steps {
    /// Returns the steps in the order of their numbers.
    pub(crate) fn all(&self) -> &[Step] {
        &self.steps
    }

    /// Returns the step of a vertex, if it was ever announced.
    pub(crate) fn find(&self, digest: &Digest) -> Option<&Step> {
        self.by_digest.get(digest).map(|&index| &self.steps[index])
    }

    /// Takes an event in; logs and statuses of unknown steps are dropped.
    pub(crate) fn apply(&mut self, event: &Event) -> Option<Change> {
        match event {
            Event::Vertex(vertex) => Some(Change::State(self.apply_vertex(vertex))),
            Event::Log {
                vertex, data, time, ..
            } => {
                let index = *self.by_digest.get(vertex)?;
                Some(Change::Log(
                    index,
                    self.steps[index].log.append(data, *time),
                ))
            }
            Event::Status { vertex, status } => {
                let index = *self.by_digest.get(vertex)?;
                let status = StepStatus {
                    name: visible(&status.name),
                    ..status.clone()
                };
                self.steps[index].apply_status(&status);
                Some(Change::Status(index, status))
            }
            Event::Warning { warning, .. } => Some(Change::Warning(visible(&warning.short))),
        }
    }

    fn apply_vertex(&mut self, vertex: &VertexEvent) -> usize {
        let next = self.steps.len();
        let index = *self.by_digest.entry(vertex.digest).or_insert(next);
        if index == next {
            self.steps.push(Step {
                number: next + 1,
                name: String::new(),
                cached: false,
                started: None,
                completed: None,
                error: None,
                statuses: Vec::new(),
                log: Log::default(),
            });
        }
        let step = &mut self.steps[index];
        step.name = visible(&vertex.name);
        step.cached = vertex.cached;
        step.started = vertex.started;
        step.completed = vertex.completed;
        step.error = vertex.error.as_deref().map(visible_lines);
        index
    }

    /// Ends unfinished lines of a step and returns them.
    pub(crate) fn flush_log(&mut self, index: usize, now: SystemTime) -> Option<LogLine> {
        self.steps[index].log.flush(now)
    }
}

impl Step {
    fn apply_status(&mut self, status: &StepStatus) {
        match self.statuses.iter_mut().find(|known| known.id == status.id) {
            Some(known) => known.clone_from(status),
            None => self.statuses.push(status.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_into_lines() {
        let mut log = Log::default();
        let now = SystemTime::UNIX_EPOCH;
        assert!(log.append(b"a", now).is_empty());
        let lines: Vec<String> = log
            .append(b"b\nc\r\nd", now)
            .into_iter()
            .map(|line| line.text)
            .collect();
        assert_eq!(lines, ["ab", "c"]);
        assert_eq!(log.flush(now).expect("a rest").text, "d");
        assert!(log.flush(now).is_none());
    }

    #[test]
    fn terminals_are_safe_from_output() {
        assert_eq!(printable(b"10%\r20%\r100%\n"), "100%");
        assert_eq!(printable(b"\x1b[31mred\x1b[0m\x07\n"), "red");
    }

    #[test]
    fn terminals_are_safe_from_names() {
        let mut steps = Steps::default();
        let digest = Digest::of(b"step");
        let vertex = VertexEvent {
            digest,
            name: "a\x1b[2Jb".to_owned(),
            error: Some("c\x1b[2J\nd".to_owned()),
            inputs: Vec::new(),
            cached: false,
            started: None,
            completed: None,
            progress_group: None,
        };
        steps.apply(&Event::Vertex(vertex));
        let step = steps.find(&digest).expect("announced");
        assert_eq!(step.name, "a\\u{1b}[2Jb");
        assert_eq!(step.error.as_deref(), Some("c\\u{1b}[2J\nd"));
    }

    #[test]
    fn long_logs_lose_their_beginning() {
        let mut log = Log::default();
        let line = [b'x'; 1023].into_iter().chain([b'\n']).collect::<Vec<u8>>();
        for _ in 0..3000 {
            log.append(&line, SystemTime::UNIX_EPOCH);
        }
        assert_eq!(log.lines().count(), MAX_LOG_BYTES / 1023);
    }
}
