//! Answers as the recording shows them.

use std::sync::LazyLock;

use lamina_proto::rpc;
use prost::Message as _;
use serde_json::Value;
use serde_json::json;
use tonic::Status;

static RECORDED: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/wire.json");
    let text = std::fs::read(path).expect("the recorded answers are in the repository");
    serde_json::from_slice(&text).expect("JSON")
});

/// Returns the part of the recording under `keys`.
pub(super) fn recorded(keys: &[&str]) -> &'static Value {
    keys.iter().fold(&*RECORDED, |value, key| &value[key])
}

/// Shows a failed call as the recording does.
pub(super) fn shown(status: &Status) -> Value {
    let details = rpc::Status::decode(status.details()).expect("a status");
    let details = details.details.iter().map(|any| {
        let value = String::from_utf8_lossy(&any.value).into_owned();
        json!({"type_url": any.type_url, "value": value})
    });
    let details: Vec<Value> = details.collect();
    json!({
        "code": format!("{:?}", status.code()),
        "details": if details.is_empty() { Value::Null } else { details.into() },
        "message": status.message(),
    })
}

/// Replaces ids of machines and runs, and digests of vertices: clients differ in how they write
/// the same op.
pub(super) fn masked(mut answer: Value) -> Value {
    if answer.is_string() {
        return answer;
    }
    if let Some(message) = answer["message"].as_str() {
        let words = message.split(' ').map(|word| match word.contains("::") {
            true => "ID::ID:",
            false => word,
        });
        answer["message"] = words.collect::<Vec<_>>().join(" ").into();
    }
    for detail in answer["details"].as_array_mut().into_iter().flatten() {
        let of_vertex = detail["type_url"].as_str().expect("text");
        if of_vertex.ends_with("errdefs.Vertex+json") {
            let value = detail["value"].as_str().expect("text");
            let value: Value = serde_json::from_str(value).expect("JSON");
            let digest = value["digest"].as_str().expect("a digest");
            assert_eq!(digest.len(), "sha256:".len() + 64, "{digest}");
            assert_eq!(value.as_object().map(serde_json::Map::len), Some(1));
            detail["value"] = "VERTEX".into();
        }
    }
    answer
}
