//! Reading references (rows GW-25 to GW-27).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use async_trait::async_trait;
use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_llb::Reference;
use lamina_types::Stat;
use serde_json::Value;
use serde_json::json;

use crate::graph;
use crate::graph::Ops;
use crate::graph::file_on;
use crate::harness::Outcome;
use crate::harness::say;
use crate::wire;
use crate::world;

/// Runs a frontend that reads.
fn run(reads: impl Frontend + 'static) -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let build = world.plain_build();
        let result = build
            .run(Arc::new(reads), BTreeMap::new(), BTreeMap::new())
            .await;
        drop(result.expect("reads"));
    })
}

struct Rows;

#[async_trait]
impl Frontend for Rows {
    async fn build(&self, bridge: Arc<dyn Bridge>) -> Result<BuildResult, BuildError> {
        let root = bridge.solve(Ops::with_base().definition()).await?;
        let root = root.expect("not scratch");
        let goldens = wire::golden(&["gateway", "reads"]);
        let rows = goldens.as_object().expect("rows");
        let mut wrong = Vec::new();
        // Twice: what is remembered must be the same.
        for (row, golden) in rows.iter().chain(rows) {
            if let Some(found) = read(&bridge, &root, row).await
                && !equal(&found, golden)
            {
                wrong.push(format!("{row:?}: {found} instead of {golden}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(BuildResult::default())
    }
}

/// Does what a row says; `None` if another test does.
async fn read(bridge: &Arc<dyn Bridge>, root: &Reference, row: &str) -> Option<Value> {
    if let Some(path) = row.strip_prefix("ReadDir g* ") {
        let entries = bridge.read_dir(root, path, Some("g*")).await;
        let list = |entries: Vec<(Vec<u8>, Stat)>| match entries.is_empty() {
            true => Value::Null,
            false => entries
                .iter()
                .map(|(name, stat)| entry(name, stat))
                .collect(),
        };
        return Some(shown(entries, list));
    }
    if let Some(path) = row.strip_prefix("StatFile ") {
        let found = bridge.stat_file(root, path).await;
        return Some(shown(found, |(name, stat)| entry(&name, &stat)));
    }
    let text = |data: Vec<u8>| Value::from(String::from_utf8_lossy(&data).into_owned());
    if let Some(path) = row.strip_prefix("ReadFile 2+5 ") {
        return Some(shown(
            bridge.read_file(root, path, Some((2, 5))).await,
            text,
        ));
    }
    let range = row.strip_prefix("ReadFile /etc/group range [")?;
    let (offset, length) = range.trim_end_matches(']').split_once(' ')?;
    // The wire's numbers are signed: a negative length is all there is, a negative offset is refused
    // by who knows the wire.
    let offset: u64 = offset.parse().ok()?;
    let range = Some((offset, length.parse().unwrap_or(u64::MAX)));
    Some(shown(
        bridge.read_file(root, "/etc/group", range).await,
        text,
    ))
}

fn shown<T>(result: Result<T, BuildError>, show: impl Fn(T) -> Value) -> Value {
    let failed = |error: BuildError| json!({ "code": "Unknown", "error": error.message });
    result.map_or_else(failed, show)
}

fn entry(name: &[u8], stat: &Stat) -> Value {
    // The base is made of files of our own: kinds and small sizes are the same.
    const DIRECTORY: u32 = 1 << 31;
    let kind = if stat.is_dir() { DIRECTORY } else { 0 };
    let mut entry = json!({ "path": String::from_utf8_lossy(name), "mode": kind | stat.mode });
    if stat.size > 0 && !stat.is_dir() {
        entry["size"] = stat.size.into();
    }
    entry
}

fn equal(found: &Value, golden: &Value) -> bool {
    let path = golden["path"].as_str().unwrap_or_default();
    if path.starts_with("buildkit-mount") {
        // The real daemon tells the name of its mount point; ours has none.
        return found["path"] == "/" && found["mode"] == golden["mode"];
    }
    if ["busybox", "passwd"].contains(&path) {
        return found["path"] == golden["path"] && found["mode"] == golden["mode"];
    }
    // The real daemon's words for a directory that is missing have lost the path they were about.
    let error = golden["error"]
        .as_str()
        .map(|text| text.replace("resolve : ", ""));
    match error {
        Some(error) => found["error"] == error,
        None => found == golden,
    }
}

pub(crate) fn rows_of_the_wire() -> Outcome {
    run(Rows)
}

/// Measures reads on a reference of five layers and a thousand files.
struct Rates;

const FILES: usize = 1_000;
const LAYERS: usize = 5;

fn layered() -> Ops {
    let mut ops = Ops::default();
    for layer in 0..LAYERS {
        let folder = format!("/d{layer}");
        let files = (0..FILES / LAYERS).map(|file| {
            let path = format!("{folder}/f{file}");
            graph::mkfile(&path, path.as_bytes(), 0o644)
        });
        let actions = std::iter::once(graph::mkdir(&folder))
            .chain(files)
            .collect();
        match layer {
            0 => drop(ops.add(graph::file(actions), &[])),
            _ => drop(ops.add(file_on(0, actions), &[layer - 1])),
        }
    }
    ops
}

#[async_trait]
impl Frontend for Rates {
    async fn build(&self, bridge: Arc<dyn Bridge>) -> Result<BuildResult, BuildError> {
        let root = bridge.solve(layered().definition()).await?.expect("a tree");
        bridge.evaluate(&root).await?;
        let path = |at: usize| format!("/d{}/f{}", at % LAYERS, (at / LAYERS) % (FILES / LAYERS));
        for round in ["first", "again"] {
            let started = Instant::now();
            for at in 0..FILES {
                let path = path(at);
                let data = bridge.read_file(&root, &path, None).await?;
                assert_eq!(data, path.as_bytes());
            }
            let read = started.elapsed();
            let started = Instant::now();
            for at in 0..FILES {
                bridge.stat_file(&root, &path(at)).await?;
            }
            let stat = started.elapsed();
            let started = Instant::now();
            for at in 0..FILES {
                let listed = bridge
                    .read_dir(&root, &format!("/d{}", at % LAYERS), None)
                    .await?;
                assert_eq!(listed.len(), FILES / LAYERS);
            }
            let each = |time: Duration| time / u32::try_from(FILES).expect("few");
            say(&format!(
                "  {round}: read {:?}, stat {:?}, list {:?} each",
                each(read),
                each(stat),
                each(started.elapsed())
            ));
        }
        Ok(BuildResult::default())
    }
}

pub(crate) fn rates() -> Outcome {
    run(Rates)
}
