//! Progress for programs: one JSON object per line, shaped like the status of BuildKit's API
//! (rows CSTA-04, CSTA-09, CSTA-10).

use std::io::Write;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use lamina_solver::Event;
use lamina_solver::VertexEvent;
use lamina_types::LogStream;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::Display;
use super::model::Change;
use super::model::Steps;

pub(super) struct RawJson<W>(W);

impl<W: Write + Send> RawJson<W> {
    pub(super) fn new(out: W) -> Self {
        Self(out)
    }
}

fn time(time: SystemTime) -> Value {
    Timestamp::try_from(time).map_or(Value::Null, |stamp| Value::String(stamp.to_string()))
}

/// Drops what has no value, as the API's JSON does.
fn compact(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| !value.is_null() && *value != json!(false))
                .collect::<Map<_, _>>(),
        ),
        other => other,
    }
}

fn encode_vertex(vertex: &VertexEvent) -> Value {
    compact(json!({
        "digest": vertex.digest,
        "inputs": vertex.inputs,
        "name": vertex.name,
        "started": vertex.started.map(time),
        "completed": vertex.completed.map(time),
        "cached": vertex.cached,
        "error": vertex.error,
        "progressGroup": vertex.progress_group.as_ref().map(|group| json!({
            "id": group.id, "name": group.name, "weak": group.weak,
        })),
    }))
}

fn encode(event: &Event) -> Value {
    match event {
        Event::Vertex(vertex) => json!({"vertexes": [encode_vertex(vertex)]}),
        Event::Status { vertex, status } => json!({"statuses": [compact(json!({
            "id": status.id,
            "vertex": vertex,
            "name": status.name,
            "total": status.total,
            "current": status.current,
            "started": status.started.map(time),
            "completed": status.completed.map(time),
        }))]}),
        Event::Log {
            vertex,
            stream,
            data,
            time: at,
        } => json!({"logs": [{
            "vertex": vertex,
            "stream": match stream { LogStream::Stdout => 1, LogStream::Stderr => 2 },
            "data": STANDARD.encode(data),
            "timestamp": time(*at),
        }]}),
        Event::Warning { vertex, warning } => json!({"warnings": [{
            "vertex": vertex,
            "short": STANDARD.encode(&warning.short),
        }]}),
    }
}

impl<W: Write + Send> Display for RawJson<W> {
    fn change(&mut self, _steps: &mut Steps, _change: &Change, event: &Event) {
        // A reader that went away does not stop the build.
        drop(writeln!(self.0, "{}", encode(event)));
    }
}

#[cfg(test)]
mod tests {
    use lamina_types::Digest;

    use super::*;

    #[test]
    fn logs_are_base64() {
        let event = Event::Log {
            vertex: Digest::of(b""),
            stream: LogStream::Stderr,
            data: b"hi\n".to_vec(),
            time: SystemTime::UNIX_EPOCH,
        };
        let value = encode(&event);
        assert_eq!(value["logs"][0]["data"], "aGkK");
        assert_eq!(value["logs"][0]["stream"], 2);
        assert_eq!(value["logs"][0]["timestamp"], "1970-01-01T00:00:00Z");
    }
}
