//! What a daemon tells of a build, as the events that an engine in this process would send (row
//! CCL-08): so there is one display for both.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use lamina_proto::control;
use lamina_proto::pb;
use lamina_solver::Event;
use lamina_solver::ProgressGroup;
use lamina_solver::VertexEvent;
use lamina_types::Digest;
use lamina_types::LogStream;
use lamina_types::Position;
use lamina_types::SourceFile;
use lamina_types::SourceRange;
use lamina_types::StepStatus;
use lamina_types::Warning;
use prost_types::Timestamp;

use crate::format::time;

/// The stream of a log that is standard error (row CSTA-10).
const STDERR: i64 = 2;

/// Returns the events of a message; what names no vertex is left out.
///
/// A message tells the last state of each vertex beside what all of them said on the way. What is
/// about one vertex is put together: first that it began, then what it said, then its end.
pub(crate) fn events(message: control::StatusResponse) -> Vec<Event> {
    let order = Order::of(&message.vertexes);
    let begun: Vec<_> = message.vertexes.iter().cloned().map(not_ended).collect();
    let ended = message.vertexes.into_iter();
    let ended = ended.filter(|vertex| vertex.completed.is_some());
    let mut events: Vec<Event> = begun
        .into_iter()
        .filter_map(vertex)
        .chain(message.statuses.into_iter().filter_map(status))
        .chain(message.logs.into_iter().filter_map(log))
        .chain(message.warnings.into_iter().filter_map(warning))
        .chain(ended.filter_map(vertex))
        .collect();
    // Stable: what is said of one vertex keeps its order.
    events.sort_by_key(|event| order.place(event));
    events.dedup_by(replaces);
    events
}

/// Says whether `event` is another state of the vertex whose state is `before`, with nothing between;
/// puts the later one first, which is the one that stays.
fn replaces(event: &mut Event, before: &mut Event) -> bool {
    let same = matches!(
        (&event, &before),
        (Event::Vertex(event), Event::Vertex(before)) if event.digest == before.digest
    );
    if same {
        std::mem::swap(event, before);
    }
    same
}

/// The places of the vertices of a message: as they come, after those that it says nothing new of.
struct Order(HashMap<Digest, usize>);

impl Order {
    fn of(vertexes: &[control::Vertex]) -> Self {
        let digests = vertexes.iter().filter_map(|vertex| digest(&vertex.digest));
        Self(digests.zip(1..).collect())
    }

    fn place(&self, event: &Event) -> usize {
        let vertex = match event {
            Event::Vertex(vertex) => &vertex.digest,
            Event::Status { vertex, .. }
            | Event::Log { vertex, .. }
            | Event::Warning { vertex, .. } => vertex,
        };
        self.0.get(vertex).copied().unwrap_or_default()
    }
}

fn not_ended(vertex: control::Vertex) -> control::Vertex {
    control::Vertex {
        completed: None,
        error: String::new(),
        ..vertex
    }
}

fn vertex(vertex: control::Vertex) -> Option<Event> {
    Some(Event::Vertex(VertexEvent {
        digest: digest(&vertex.digest)?,
        inputs: vertex
            .inputs
            .iter()
            .filter_map(|input| digest(input))
            .collect(),
        name: vertex.name,
        cached: vertex.cached,
        started: time(vertex.started.as_ref()),
        completed: time(vertex.completed.as_ref()),
        error: Some(vertex.error).filter(|error| !error.is_empty()),
        progress_group: vertex.progress_group.map(group),
    }))
}

fn group(group: pb::ProgressGroup) -> ProgressGroup {
    ProgressGroup {
        id: group.id,
        name: group.name,
        weak: group.weak,
    }
}

fn status(status: control::VertexStatus) -> Option<Event> {
    let count = |value: i64| u64::try_from(value).unwrap_or_default();
    // Names may be left out where they are the same as the id.
    let name = if status.name.is_empty() {
        status.id.clone()
    } else {
        status.name
    };
    Some(Event::Status {
        vertex: digest(&status.vertex)?,
        status: StepStatus {
            id: status.id,
            name,
            current: count(status.current),
            total: count(status.total),
            started: time(status.started.as_ref()),
            completed: time(status.completed.as_ref()),
        },
    })
}

fn log(log: control::VertexLog) -> Option<Event> {
    Some(Event::Log {
        vertex: digest(&log.vertex)?,
        stream: if log.stream == STDERR {
            LogStream::Stderr
        } else {
            LogStream::Stdout
        },
        data: log.msg,
        time: at(log.timestamp.as_ref()),
    })
}

fn at(stamp: Option<&Timestamp>) -> SystemTime {
    time(stamp).unwrap_or_else(SystemTime::now)
}

fn warning(warning: control::VertexWarning) -> Option<Event> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Event::Warning {
        vertex: digest(&warning.vertex)?,
        warning: Warning {
            level: warning.level,
            short: text(&warning.short),
            detail: warning.detail.iter().map(|line| text(line)).collect(),
            url: warning.url,
            file: warning.info.map(|info| Arc::new(file(info))),
            ranges: warning.ranges.iter().map(range).collect(),
        },
    })
}

fn file(info: pb::SourceInfo) -> SourceFile {
    SourceFile {
        filename: info.filename,
        language: info.language,
        data: info.data,
        definition: Vec::new(),
    }
}

fn range(range: &pb::Range) -> SourceRange {
    let position = |position: &Option<pb::Position>| {
        let position = position.unwrap_or_default();
        Position {
            line: position.line,
            character: position.character,
        }
    };
    SourceRange {
        start: position(&range.start),
        end: position(&range.end),
    }
}

fn digest(text: &str) -> Option<Digest> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_after_their_output() {
        let name = Digest::of(b"a").to_string();
        let message = control::StatusResponse {
            vertexes: vec![control::Vertex {
                digest: name.clone(),
                completed: Some(Timestamp::default()),
                error: "no".to_owned(),
                ..control::Vertex::default()
            }],
            logs: vec![control::VertexLog {
                vertex: name,
                ..control::VertexLog::default()
            }],
            ..control::StatusResponse::default()
        };
        let events = events(message);
        let [Event::Vertex(first), Event::Log { .. }, Event::Vertex(last)] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!((first.completed, &first.error), (None, &None));
        assert_eq!(last.error.as_deref(), Some("no"));
    }

    /// Two short steps in one message, as a daemon sends them: whole steps, one after the other.
    #[test]
    fn steps_are_told_one_by_one() {
        let name = |text: &str| Digest::of(text.as_bytes()).to_string();
        let done = |text: &str| control::Vertex {
            digest: name(text),
            name: text.to_owned(),
            started: Some(Timestamp::default()),
            completed: Some(Timestamp::default()),
            ..control::Vertex::default()
        };
        let log = |text: &str| control::VertexLog {
            vertex: name(text),
            ..control::VertexLog::default()
        };
        let message = control::StatusResponse {
            vertexes: vec![done("a"), done("silent"), done("b")],
            logs: vec![log("b"), log("a"), log("earlier")],
            ..control::StatusResponse::default()
        };
        let told = events(message).into_iter().map(|event| match event {
            Event::Vertex(vertex) if vertex.completed.is_none() => {
                format!("{} begins", vertex.name)
            }
            Event::Vertex(vertex) => format!("{} ends", vertex.name),
            _ => "log".to_owned(),
        });
        let wanted = "log, a begins, log, a ends, silent ends, b begins, log, b ends";
        assert_eq!(told.collect::<Vec<_>>().join(", "), wanted);
    }

    #[test]
    fn a_message_becomes_events() {
        let name = Digest::of(b"a").to_string();
        let message = control::StatusResponse {
            vertexes: vec![
                control::Vertex {
                    digest: name.clone(),
                    name: "step".to_owned(),
                    started: Some(Timestamp::default()),
                    ..control::Vertex::default()
                },
                control::Vertex {
                    digest: "nonsense".to_owned(),
                    ..control::Vertex::default()
                },
            ],
            statuses: vec![control::VertexStatus {
                vertex: name.clone(),
                id: "extracting".to_owned(),
                current: -1,
                ..control::VertexStatus::default()
            }],
            logs: vec![control::VertexLog {
                vertex: name.clone(),
                stream: 2,
                msg: b"hello\n".to_vec(),
                ..control::VertexLog::default()
            }],
            warnings: vec![control::VertexWarning {
                vertex: name,
                short: b"careful".to_vec(),
                ranges: vec![pb::Range::default()],
                ..control::VertexWarning::default()
            }],
        };
        let events = events(message);
        let [
            Event::Vertex(vertex),
            Event::Status { status, .. },
            log,
            warning,
        ] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!(vertex.name, "step");
        assert_eq!(vertex.started, Some(SystemTime::UNIX_EPOCH));
        assert_eq!((status.name.as_str(), status.current), ("extracting", 0));
        assert!(matches!(
            log,
            Event::Log {
                stream: LogStream::Stderr,
                ..
            }
        ));
        assert!(matches!(warning, Event::Warning { warning, .. } if warning.short == "careful"));
    }
}
