//! Events as messages of the wire.

use std::time::SystemTime;

use lamina_proto::control;
use lamina_proto::pb;
use lamina_solver::VertexEvent;
use lamina_types::Digest;
use lamina_types::LogStream;
use lamina_types::Position;
use lamina_types::SourceFile;
use lamina_types::SourceRange;
use lamina_types::StepStatus;
use lamina_types::Warning;
use prost::Message;
use prost_types::Timestamp;

/// Returns a time as messages have it.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

pub(super) fn vertex(event: &VertexEvent) -> control::Vertex {
    control::Vertex {
        digest: event.digest.to_string(),
        inputs: event.inputs.iter().map(Digest::to_string).collect(),
        name: event.name.clone(),
        cached: event.cached,
        started: event.started.map(timestamp),
        completed: event.completed.map(timestamp),
        error: event.error.clone().unwrap_or_default(),
        progress_group: event
            .progress_group
            .as_ref()
            .map(|group| pb::ProgressGroup {
                id: group.id.clone(),
                name: group.name.clone(),
                weak: group.weak,
            }),
    }
}

pub(super) fn status(vertex: Digest, status: &StepStatus) -> control::VertexStatus {
    let time = status.completed.unwrap_or_else(SystemTime::now);
    control::VertexStatus {
        id: status.id.clone(),
        vertex: vertex.to_string(),
        name: status.name.clone(),
        current: count(status.current),
        total: count(status.total),
        timestamp: Some(timestamp(time)),
        started: status.started.map(timestamp),
        completed: status.completed.map(timestamp),
    }
}

pub(super) fn log(
    vertex: Digest,
    stream: LogStream,
    data: Vec<u8>,
    time: SystemTime,
) -> control::VertexLog {
    let stream = match stream {
        LogStream::Stdout => 1,
        LogStream::Stderr => 2,
    };
    control::VertexLog {
        vertex: vertex.to_string(),
        timestamp: Some(timestamp(time)),
        stream,
        msg: data,
    }
}

pub(super) fn warning(vertex: Digest, warning: &Warning) -> control::VertexWarning {
    let range = |range: &SourceRange| pb::Range {
        start: Some(position(range.start)),
        end: Some(position(range.end)),
    };
    control::VertexWarning {
        vertex: vertex.to_string(),
        level: warning.level,
        short: warning.short.clone().into_bytes(),
        detail: warning
            .detail
            .iter()
            .map(|line| line.clone().into_bytes())
            .collect(),
        url: warning.url.clone(),
        info: warning.file.as_deref().map(source_info),
        ranges: warning.ranges.iter().map(range).collect(),
    }
}

fn source_info(file: &SourceFile) -> pb::SourceInfo {
    let definition = (!file.definition.is_empty())
        .then(|| pb::Definition::decode(file.definition.as_slice()).ok())
        .flatten();
    pb::SourceInfo {
        filename: file.filename.clone(),
        data: file.data.clone(),
        definition,
        language: file.language.clone(),
    }
}

fn position(position: Position) -> pb::Position {
    pb::Position {
        line: position.line,
        character: position.character,
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
