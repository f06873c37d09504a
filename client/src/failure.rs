//! Errors of the daemon with their typed details (rows NET-10 to NET-13, section 1.1).
//!
//! Details travel in the trailer `grpc-status-details-bin` as a `google.rpc.Status` whose details
//! are `Any` with JSON inside. Those that callers act on are taken apart here; all of them are kept
//! as they came, so that they can be handed on unchanged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamina_proto::errdefs;
use lamina_proto::pb;
use lamina_proto::rpc;
use prost::Message as _;
use serde_json::Value;
use tonic::Status;

use crate::details;

/// What the type URLs of BuildKit's details begin with; `+json` ends them.
const DETAIL_PREFIX: &str = "github.com/moby/buildkit/";

/// What is left of an op that failed.
const SOLVE: &str = "github.com/moby/buildkit/errdefs.Solve+json";

/// An error of the daemon with its details (section 1.1).
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// gRPC code.
    pub code: i32,
    /// The text.
    pub message: String,
    /// The failing vertex.
    pub vertex: Option<String>,
    /// Places in the user's files, innermost last (row NET-12). The definition of the file is left
    /// out; it is in `details`.
    pub sources: Vec<(pb::SourceInfo, Vec<pb::Range>)>,
    /// Exit code of the process that failed.
    pub exit_code: Option<i32>,
    /// All details as they came: type URL and value.
    pub details: Vec<(String, Vec<u8>)>,
}

impl Failure {
    /// Describes something that went wrong at the caller, who may add to it.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            code: tonic::Code::Unknown.into(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// Reads a status and the details in its trailer; details that make no sense are left out.
    pub(crate) fn from_status(status: &Status) -> Self {
        let details = rpc::Status::decode(status.details()).unwrap_or_default();
        Self::read(status.code().into(), status.message(), details.details)
    }

    fn read(code: i32, message: &str, details: Vec<prost_types::Any>) -> Self {
        let mut failure = Self {
            code,
            message: message.to_owned(),
            ..Self::default()
        };
        for detail in details {
            failure.note(&detail);
            failure.details.push((detail.type_url, detail.value));
        }
        failure
    }

    /// Takes what is known of a detail. Of several of a kind the last that can be read counts, since
    /// a receiver wraps in the order of the list (row NET-12); of sources all do.
    fn note(&mut self, detail: &prost_types::Any) {
        let name = detail.type_url.strip_prefix(DETAIL_PREFIX);
        let Some(name) = name.and_then(|name| name.strip_suffix("+json")) else {
            return;
        };
        let Ok(value) = serde_json::from_slice::<Value>(&detail.value) else {
            return;
        };
        match name {
            "errdefs.Vertex" => {
                let digest = value["digest"].as_str().map(str::to_owned);
                self.vertex = digest.or(self.vertex.take());
            }
            "errdefs.Source" => self.sources.push(source(&value)),
            "gatewayapi.ExitMessage" if value.is_object() => {
                self.exit_code = Some(exit_code(&value));
            }
            _ => {}
        }
    }

    /// Returns what is left of the op that failed (rows ERR-03 to ERR-05). Its ids can be mounted
    /// and read until the build ends.
    #[must_use]
    pub fn solve(&self) -> Option<errdefs::Solve> {
        let solve = |(url, _): &&(String, Vec<u8>)| url == SOLVE;
        let (_, json) = self.details.iter().rfind(solve)?;
        details::solve(json)
    }

    /// Writes the error back with its details unchanged (row NET-13).
    pub(crate) fn to_wire(&self) -> rpc::Status {
        let detail = |(type_url, value): &(String, Vec<u8>)| prost_types::Any {
            type_url: type_url.clone(),
            value: value.clone(),
        };
        rpc::Status {
            code: self.code,
            message: self.message.clone(),
            details: self.details.iter().map(detail).collect(),
        }
    }
}

impl From<&rpc::Status> for Failure {
    /// Reads the error of a history record.
    fn from(status: &rpc::Status) -> Self {
        Self::read(status.code, &status.message, status.details.clone())
    }
}

/// Zero values are left out of the JSON (row NET-11).
fn exit_code(value: &Value) -> i32 {
    let code = value["Code"].as_i64().unwrap_or_default();
    i32::try_from(code).unwrap_or(i32::MAX)
}

fn source(value: &Value) -> (pb::SourceInfo, Vec<pb::Range>) {
    let info = &value["info"];
    let text = |key: &str| info[key].as_str().unwrap_or_default().to_owned();
    let data = STANDARD.decode(text("data")).unwrap_or_default();
    let info = pb::SourceInfo {
        filename: text("filename"),
        data,
        definition: None,
        language: text("language"),
    };
    let ranges = value["ranges"].as_array().map(Vec::as_slice);
    (info, ranges.unwrap_or_default().iter().map(range).collect())
}

fn range(value: &Value) -> pb::Range {
    let position = |value: &Value| pb::Position {
        line: number(&value["line"]),
        character: number(&value["character"]),
    };
    pb::Range {
        start: Some(position(&value["start"])),
        end: Some(position(&value["end"])),
    }
}

fn number(value: &Value) -> i32 {
    i32::try_from(value.as_i64().unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_with(details: &[(&str, &str)]) -> Status {
        let details = details.iter().map(|(url, json)| prost_types::Any {
            type_url: (*url).to_owned(),
            value: json.as_bytes().to_vec(),
        });
        let wire = rpc::Status {
            code: 2,
            message: "short".to_owned(),
            details: details.collect(),
        };
        let code = tonic::Code::Unknown;
        Status::with_details(code, "solving: short", wire.encode_to_vec().into())
    }

    #[test]
    fn known_details_are_taken_apart_and_all_are_kept() {
        let source = r#"{"info":{"filename":"Dockerfile","data":"RlJPTQ==","language":"Dockerfile"},
            "ranges":[{"start":{"line":2},"end":{"line":2,"character":7}}]}"#;
        let failure = Failure::from_status(&status_with(&[
            ("github.com/moby/buildkit/errdefs.Source+json", source),
            (
                "github.com/moby/buildkit/errdefs.Vertex+json",
                r#"{"digest":"sha256:aa"}"#,
            ),
            (
                "github.com/moby/buildkit/gatewayapi.ExitMessage+json",
                r#"{"Code":7}"#,
            ),
            ("example.com/unknown", "anything"),
        ]));
        assert_eq!(failure.message, "solving: short");
        assert_eq!(failure.vertex.as_deref(), Some("sha256:aa"));
        assert_eq!(failure.exit_code, Some(7));
        assert_eq!(failure.details.len(), 4);
        let (info, ranges) = &failure.sources[0];
        assert_eq!(
            (&info.filename[..], &info.data[..]),
            ("Dockerfile", &b"FROM"[..])
        );
        let end = ranges[0].end.expect("has an end");
        assert_eq!((end.line, end.character), (2, 7));
        assert_eq!(failure.to_wire().details.len(), 4);
    }

    /// Row NET-12: wrapped in the order of the list, the last is the outermost.
    #[test]
    fn the_last_detail_of_a_kind_that_can_be_read_counts() {
        let vertex = "github.com/moby/buildkit/errdefs.Vertex+json";
        let exit = "github.com/moby/buildkit/gatewayapi.ExitMessage+json";
        let source = "github.com/moby/buildkit/errdefs.Source+json";
        let failure = Failure::from_status(&status_with(&[
            (vertex, r#"{"digest":"sha256:aa"}"#),
            (exit, r#"{"Code":1}"#),
            (source, r#"{"info":{"filename":"a"}}"#),
            (vertex, r#"{"digest":"sha256:bb"}"#),
            (exit, r#"{"Code":2}"#),
            (source, r#"{"info":{"filename":"b"}}"#),
            (vertex, "{}"),
            (exit, "[3]"),
            (exit, "{"),
        ]));
        assert_eq!(failure.vertex.as_deref(), Some("sha256:bb"));
        assert_eq!(failure.exit_code, Some(2));
        let names = failure.sources.iter().map(|(info, _)| &info.filename[..]);
        assert_eq!(names.collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn nonsense_in_details_is_survived() {
        for (name, url, json) in [
            (
                "no json",
                "github.com/moby/buildkit/errdefs.Source+json",
                "{",
            ),
            (
                "wrong types",
                "github.com/moby/buildkit/errdefs.Source+json",
                r#"{"info":[],"ranges":3}"#,
            ),
            (
                "a list",
                "github.com/moby/buildkit/gatewayapi.ExitMessage+json",
                "[1]",
            ),
            (
                "huge code",
                "github.com/moby/buildkit/gatewayapi.ExitMessage+json",
                r#"{"Code":99999999999}"#,
            ),
            (
                "no digest",
                "github.com/moby/buildkit/errdefs.Vertex+json",
                "{}",
            ),
            ("empty", "", ""),
        ] {
            let failure = Failure::from_status(&status_with(&[(url, json)]));
            assert_eq!(failure.details.len(), 1, "{name}");
        }
        let garbage = Status::with_details(tonic::Code::Internal, "x", vec![0xff; 9].into());
        assert!(Failure::from_status(&garbage).details.is_empty());
    }
}
