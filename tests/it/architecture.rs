//! The arrows between crates, as `ARCHITECTURE.md` draws them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Rows of the house, bottom first; a crate may use crates of lower rows only.
const ROWS: &[&[&str]] = &[
    &["types", "patterns"],
    &["proto", "snapshotter", "network"],
    &["content", "session"],
    &["registry"],
    &["solver", "fileops", "executor", "sources", "exporters"],
    &["llb"],
    &["frontend", "engine"],
    &["grpc", "client"],
    &["daemon"],
    &["cli"],
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--no-deps",
            "--offline",
            "--locked",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// Returns the crates of the workspace and which of them each uses outside its tests.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let ours = |value: &Value| {
        value
            .as_str()
            .and_then(|name| name.strip_prefix("lamina-"))
            .map(str::to_owned)
    };
    let mut arrows = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = ours(&package["name"]).expect("every crate is called lamina-*");
        let uses = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| ours(&dependency["name"]))
            .collect();
        arrows.insert(name, uses);
    }
    arrows
}

fn row(name: &str) -> usize {
    ROWS.iter()
        .position(|row| row.contains(&name))
        .unwrap_or_else(|| panic!("crate {name} has no place in the architecture"))
}

/// Says whether only tests use the crate.
fn is_of_tests(name: &str) -> bool {
    ["tests", "testkit"].contains(&name)
}

#[test]
fn arrows_point_down() {
    for (name, uses) in arrows().into_iter().filter(|(name, _)| !is_of_tests(name)) {
        for used in uses {
            assert!(row(&used) < row(&name), "{name} must not use {used}");
        }
    }
}

#[test]
fn the_solver_sees_types_only() {
    assert_eq!(arrows()["solver"], BTreeSet::from(["types".to_owned()]));
}

#[test]
fn protobuf_stops_at_the_edges() {
    let allowed = [
        "session", "llb", "frontend", "engine", "grpc", "client", "daemon", "cli",
    ];
    for (name, uses) in arrows() {
        let edge = allowed.contains(&name.as_str());
        assert!(edge || !uses.contains("proto"), "{name} must not use proto");
    }
}
