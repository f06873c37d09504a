//! Golden data: lines of JSON, compressed.

use std::fs::File;
use std::path::Path;

use serde::de::DeserializeOwned;

/// Reads `tests/goldens/<name>`.
pub(crate) fn read<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens")).join(name);
    let file = File::open(&path).expect("golden data");
    let text = zstd::decode_all(file).expect("zstd");
    let lines = text
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).expect("a line of JSON"))
        .collect()
}
