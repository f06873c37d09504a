//! What a real daemon answered.

use std::path::Path;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::Value;

fn path(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens")).join(name)
}

/// Returns the lines of a compressed file, one JSON value each.
pub(crate) fn lines<T: DeserializeOwned>(name: &str) -> impl Iterator<Item = T> {
    let file = std::fs::File::open(path(name)).expect("golden data");
    let text = String::from_utf8(zstd::decode_all(file).expect("zstd")).expect("text");
    let lines: Vec<T> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    lines.into_iter()
}

/// Returns the part of `wire.json` under `keys`.
pub(crate) fn golden(keys: &[&str]) -> Value {
    let text = std::fs::read(path("wire.json")).expect("golden data");
    let all: Value = serde_json::from_slice(&text).expect("JSON");
    keys.iter().fold(all, |value, key| value[key].clone())
}
