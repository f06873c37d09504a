//! Details byte by byte as BuildKit writes them (`tests/goldens/wire.json`), and back.

use lamina_llb::BuildError;
use lamina_llb::FrontendName;
use lamina_llb::SolveFailure;
use lamina_llb::SolveSubject;
use lamina_llb::SourceExcerpt;
use lamina_proto::errdefs;
use lamina_proto::pb;
use lamina_proto::rpc;
use lamina_types::Digest;
use prost::Message as _;
use serde_json::Value;

use super::*;

const WIRE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/wire.json");

/// Recorded errors: name, message, code, details.
fn recorded() -> Vec<(String, rpc::Status)> {
    let text = std::fs::read_to_string(WIRE).expect("the recorded answers are in the repository");
    let wire: Value = serde_json::from_str(&text).expect("JSON");
    let errors = wire["errors"].as_object().expect("errors by name");
    let failing = errors.iter().filter(|(_, error)| error.is_object());
    failing
        .map(|(name, error)| (name.clone(), status(error)))
        .collect()
}

fn status(error: &Value) -> rpc::Status {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let code = match error["code"].as_str().expect("a code") {
        "Unknown" => Code::Unknown,
        "NotFound" => Code::NotFound,
        "DeadlineExceeded" => Code::DeadlineExceeded,
        other => panic!("{other}: a new code"),
    };
    let details = error["details"].as_array().into_iter().flatten();
    let details = details.map(|detail| prost_types::Any {
        type_url: text(&detail["type_url"]),
        value: text(&detail["value"]).into_bytes(),
    });
    rpc::Status {
        code: code as i32,
        message: text(&error["message"]),
        details: details.collect(),
    }
}

/// What was read out of details is written as the same bytes in the same order.
#[test]
fn recorded_details_are_read_and_written_alike() {
    let mut details = 0;
    for (name, status) in recorded() {
        let mut error = from_rpc(status.clone()).expect("an error");
        details += error.foreign.len();
        // Only what was understood is left.
        error.foreign.clear();
        let written = to_rpc(&error);
        assert_eq!(shown(&written), shown(&status), "{name}");
    }
    assert!(details > 30, "only {details} details were compared");
}

/// Rows NET-13, GW-34: an error that passes through stays as it is.
#[test]
fn recorded_errors_pass_through_unchanged() {
    for (name, mut status) in recorded() {
        status.details.push(prost_types::Any {
            type_url: "example.com/unheard.of".to_owned(),
            value: vec![0, 159, 255],
        });
        let passed = to_rpc(&from_rpc(status.clone()).expect("an error"));
        assert_eq!(passed, status, "{name}");
    }
}

fn shown(status: &rpc::Status) -> (i32, &str, Vec<(&str, String)>) {
    let value = |any: &prost_types::Any| String::from_utf8_lossy(&any.value).into_owned();
    let details = status.details.iter();
    let details = details.map(|any| (any.type_url.as_str(), value(any)));
    (status.code, &status.message, details.collect())
}

#[test]
fn codes_are_chosen() {
    let error = BuildError::new;
    let cap = BuildError {
        frontend_cap: Some("x".to_owned()),
        ..error("m")
    };
    let coded = |code| BuildError {
        code: Some(code),
        ..error("m")
    };
    for (error, expected) in [
        (error("m"), Code::Unknown),
        (BuildError::cancelled(), Code::Cancelled),
        (cap, Code::Unimplemented),
        (coded(5), Code::NotFound),
        (coded(0), Code::Unknown),
        (coded(77), Code::Unknown),
    ] {
        assert_eq!(to_status(&error).code(), expected, "{error:?}");
    }
}

/// Row NET-12: wrapped in the order of the list, the last is the outermost.
#[test]
fn the_last_detail_of_a_kind_that_can_be_read_counts() {
    let detail = |name: &str, json: &str| prost_types::Any {
        type_url: format!("github.com/moby/buildkit/{name}+json"),
        value: json.as_bytes().to_vec(),
    };
    let source = |name: &str| {
        detail(
            "errdefs.Source",
            &format!(r#"{{"info":{{"filename":"{name}"}}}}"#),
        )
    };
    let status = rpc::Status {
        code: 2,
        message: "m".to_owned(),
        details: vec![
            detail("gatewayapi.ExitMessage", r#"{"Code":1}"#),
            detail("errdefs.Subrequest", r#"{"name":"first"}"#),
            source("a"),
            detail("gatewayapi.ExitMessage", r#"{"Code":2}"#),
            detail("gatewayapi.ExitMessage", "no JSON"),
            detail("errdefs.Subrequest", "{"),
            source("b"),
        ],
    };
    let error = from_rpc(status.clone()).expect("an error");
    assert_eq!(error.exit_code, Some(2));
    assert_eq!(error.subrequest.as_deref(), Some("first"));
    let names: Vec<_> = error
        .sources
        .iter()
        .map(|source| &source.info.filename[..])
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(to_rpc(&error), status);
}

/// Row GW-30: an error whose code says that all is well is none.
#[test]
fn success_is_no_error() {
    assert!(from_rpc(rpc::Status::default()).is_none());
}

#[test]
fn the_callers_frontend_is_told_beside_what_came_along() {
    let vertex = BuildError {
        vertex: Some(Digest::of(b"v")),
        ..BuildError::new("m")
    };
    let mut error = from_rpc(to_rpc(&vertex)).expect("an error");
    error.frontend = Some(FrontendName {
        name: "gateway.v0".to_owned(),
        source: "h/x".to_owned(),
    });
    let urls: Vec<String> = to_rpc(&error)
        .details
        .into_iter()
        .map(|detail| detail.type_url)
        .collect();
    let url = |name| format!("github.com/moby/buildkit/errdefs.{name}+json");
    assert_eq!(urls, [url("Frontend"), url("Vertex")]);
}

/// Row ERR-03, in the dialect of row NET-11.
#[test]
fn what_is_left_of_an_op_is_proto3_json() {
    let mount = pb::Mount {
        input: -1,
        dest: "/<r>".to_owned(),
        mount_type: pb::MountType::Cache as i32,
        ..pb::Mount::default()
    };
    let exec = pb::ExecOp {
        mounts: vec![mount],
        ..pb::ExecOp::default()
    };
    let op = pb::Op {
        op: Some(pb::op::Op::Exec(exec)),
        ..pb::Op::default()
    };
    let failure = SolveFailure {
        op: op.encode_to_vec(),
        description: [("k".to_owned(), "v".to_owned())].into(),
        inputs: Vec::new(),
        mounts: Vec::new(),
        subject: SolveSubject::FileAction(1 << 40),
    };
    let ids = FailureIds {
        inputs: vec!["a".to_owned(), String::new()],
        mounts: vec!["b".to_owned()],
    };
    let status = with_failure(&BuildError::new("m"), &failure, ids);
    let status = rpc::Status::decode(status.details()).expect("a status");
    let mut read = status.details.iter().map(|detail| {
        assert_eq!(
            detail.type_url,
            "github.com/moby/buildkit/errdefs.Solve+json"
        );
        serde_json::from_slice::<Value>(&detail.value).expect("JSON")
    });
    let mut expected = serde_json::json!({
        "inputIDs": ["a", ""],
        "mountIDs": ["b"],
        "op": {"exec": {"mounts": [{"input": "-1", "dest": "/<r>", "mountType": "CACHE"}]}},
        "file": {"index": (1_u64 << 40).to_string()},
    });
    // For clients that know no descriptions, and for all others after it.
    assert_eq!(read.next().as_ref(), Some(&expected));
    expected["description"] = serde_json::json!({"k": "v"});
    assert_eq!(read.next(), Some(expected));
    assert_eq!(read.next(), None);
}

/// Every kind of op survives the JSON of `errdefs.Solve`.
#[test]
fn recorded_ops_survive_their_json() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/goldens/ops.jsonl.zst"
    );
    let packed = std::fs::read(path).expect("the recorded ops are in the repository");
    let text = zstd::decode_all(packed.as_slice()).expect("zstd");
    let text = String::from_utf8(text).expect("UTF-8");
    let mut count = 0;
    for line in text.lines().step_by(7) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let op = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            line["op"].as_str().expect("base64"),
        );
        let op = pb::Op::decode(op.expect("base64").as_slice()).expect("an op");
        let solve = errdefs::Solve {
            op: Some(op),
            ..errdefs::Solve::default()
        };
        for dialect in [json::Dialect::Plain, json::Dialect::Proto3] {
            let written = json::write("errdefs.Solve", &solve, dialect).expect("written");
            let read: Option<errdefs::Solve> = json::read("errdefs.Solve", &written);
            assert_eq!(read.as_ref(), Some(&solve));
        }
        count += 1;
    }
    assert!(count > 100);
}

/// Row NET-11: what Go escapes is escaped.
#[test]
fn texts_are_escaped_as_go_does() {
    let info = pb::SourceInfo {
        filename: "<a>&\u{2028}\"\\\n\u{1}é".to_owned(),
        ..pb::SourceInfo::default()
    };
    let error = BuildError {
        sources: vec![SourceExcerpt {
            info,
            ranges: Vec::new(),
        }],
        ..BuildError::new("m")
    };
    let status = to_rpc(&error);
    let json = std::str::from_utf8(&status.details[0].value).expect("UTF-8");
    let expected = r#"{"info":{"filename":"\u003ca\u003e\u0026\u2028\"\\\n\u0001é"}}"#;
    assert_eq!(json, expected);
}

/// Details of a hostile frontend: nothing is read out of them, and they pass through.
#[test]
fn malformed_details_pass_through() {
    for (name, value) in [
        ("errdefs.Vertex", "{\"digest\":\"nonsense\"}"),
        ("errdefs.Vertex", "[1,2"),
        ("errdefs.Source", "{\"info\":null}"),
        ("errdefs.Source", "{\"info\":{\"data\":\"*\"}}"),
        ("gatewayapi.ExitMessage", "{\"Code\":-1}"),
        ("gatewayapi.ExitMessage", "{\"Code\":1e400}"),
        ("errdefs.Frontend", "\u{0}"),
        ("", ""),
    ] {
        let status = rpc::Status {
            code: 2,
            message: "m".to_owned(),
            details: vec![prost_types::Any {
                type_url: format!("github.com/moby/buildkit/{name}+json"),
                value: value.as_bytes().to_vec(),
            }],
        };
        let error = from_rpc(status.clone()).expect("an error");
        assert_eq!(error.vertex, None);
        assert_eq!(error.exit_code, None);
        assert_eq!(to_rpc(&error), status, "{value}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let status = rpc::Status {
        code: 2,
        message: String::new(),
        details: vec![prost_types::Any {
            type_url: "github.com/moby/buildkit/errdefs.Source+json".to_owned(),
            value: deep.into_bytes(),
        }],
    };
    assert!(from_rpc(status).expect("an error").sources.is_empty());
}

/// More details than any real error has: the first are looked into, and all pass through.
#[test]
fn floods_of_details_pass_through_unread() {
    let detail = prost_types::Any {
        type_url: "github.com/moby/buildkit/errdefs.Source+json".to_owned(),
        value: b"{\"info\":{\"filename\":\"f\"}}".to_vec(),
    };
    let status = rpc::Status {
        code: 2,
        message: String::new(),
        details: vec![detail; 50_000],
    };
    let error = from_rpc(status.clone()).expect("an error");
    assert_eq!(error.sources.len(), 100);
    assert_eq!(to_rpc(&error), status);
}
