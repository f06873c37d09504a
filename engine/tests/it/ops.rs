//! Definitions of File, Merge and Diff ops with what BuildKit made of them, solved by the engine from
//! the bytes and exported as tar (rows FIL, OPS): 3,221, and 951 further ones about corners.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt;
use lamina_engine::BuildRequest;
use lamina_engine::BuildSource;
use lamina_engine::Engine;
use lamina_engine::ExportRequest;
use lamina_llb::BuildError;
use lamina_proto::pb;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use serde::Deserialize;
use tokio::sync::mpsc::unbounded_channel;

use crate::fixture;
use crate::goldens;
use crate::harness::Outcome;
use crate::harness::say;
use crate::tar_tree;
use crate::tar_tree::Entry;

/// Cases of one recording.
struct Set {
    ops: &'static str,
    cases: &'static str,
    /// Cases that pass; raise it with every one that is won.
    reached: usize,
}

const FIRST: Set = Set {
    ops: "ops.jsonl.zst",
    cases: "cases.jsonl.zst",
    reached: 3_197,
};

const FURTHER: Set = Set {
    ops: "further-ops.jsonl.zst",
    cases: "further-cases.jsonl.zst",
    reached: 926,
};

const LIMIT: Duration = Duration::from_secs(60);
const AT_ONCE: usize = 4;
const INLINE_BYTES: usize = 40;

#[derive(Deserialize)]
struct GoldenOp {
    digest: String,
    op: String,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    group: String,
    ops: Vec<String>,
    tree: Option<Vec<Entry>>,
    error: Option<String>,
}

pub(crate) fn goldens() -> Outcome {
    fixture::block_on(run(&FIRST))
}

pub(crate) fn further_goldens() -> Outcome {
    fixture::block_on(run(&FURTHER))
}

async fn run(set: &Set) -> Outcome {
    let dir = fixture::temporary();
    let engine = match fixture::engine(dir.path()).await {
        Ok(engine) => engine,
        Err(reason) => return Outcome::Skipped(reason),
    };
    let ops = ops(set);
    let cases: Vec<Case> = goldens::read(set.cases);
    let differences = futures_util::stream::iter(cases.iter().enumerate())
        .map(|(at, case)| check(&engine, dir.path(), at, case, &ops))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    report(set, &cases, differences)
}

fn ops(set: &Set) -> HashMap<String, Vec<u8>> {
    let ops: Vec<GoldenOp> = goldens::read(set.ops);
    let decode = |op: GoldenOp| (op.digest, BASE64_STANDARD.decode(op.op).expect("base64"));
    ops.into_iter().map(decode).collect()
}

/// Returns the case's index and how it differs.
async fn check(
    engine: &Engine,
    dir: &Path,
    at: usize,
    case: &Case,
    ops: &HashMap<String, Vec<u8>>,
) -> (usize, Option<String>) {
    let def = case.ops.iter().map(|digest| ops[digest].clone()).collect();
    let target = dir.join(format!("out-{at}.tar"));
    let built = tokio::time::timeout(LIMIT, build(engine, def, &target)).await;
    let tar = std::fs::read(&target).unwrap_or_default();
    // A failed build leaves no file.
    drop(std::fs::remove_file(&target));
    let difference = match (built, &case.tree, &case.error) {
        (Err(_), _, _) => Some("hangs".to_owned()),
        (Ok(Ok(())), Some(golden), _) => compare(golden, &tar_tree::read(&tar, INLINE_BYTES)),
        (Ok(Ok(())), None, error) => Some(format!("should fail: {error:?}")),
        (Ok(Err(error)), Some(_), _) => Some(format!("fails: {error}")),
        (Ok(Err(_)), None, _) => None,
    };
    (at, difference)
}

async fn build(engine: &Engine, def: Vec<Vec<u8>>, target: &Path) -> Result<(), BuildError> {
    let session = LocalSession::builder().file_target(0, target).build();
    let source = BuildSource::Definition(pb::Definition {
        def,
        ..pb::Definition::default()
    });
    let mut request = BuildRequest::new(source, Arc::new(session));
    request.exports.push(ExportRequest {
        kind: "tar".to_owned(),
        attrs: BTreeMap::new(),
    });
    let (events, _watcher) = unbounded_channel();
    engine
        .build(request, events, &CancelToken::new())
        .await
        .map(drop)
}

/// Returns the first difference. Times that the build makes are not compared, nor those of parent
/// directories, which are not fixed either way.
fn compare(golden: &[Entry], ours: &[Entry]) -> Option<String> {
    let by_path = |entries: &[Entry]| -> BTreeMap<String, Entry> {
        entries
            .iter()
            .map(|e| (e.path.clone(), e.clone()))
            .collect()
    };
    let (golden, ours) = (by_path(golden), by_path(ours));
    for (path, wanted) in &golden {
        let Some(found) = ours.get(path) else {
            return Some(format!("{path} is missing"));
        };
        let mut found = found.clone();
        if wanted.mtime == "now" || wanted.kind == "dir" {
            found.mtime.clone_from(&wanted.mtime);
        }
        if found != *wanted {
            return Some(format!(
                "{path}:\n    golden {wanted:?}\n    ours   {found:?}"
            ));
        }
    }
    let extra = ours.keys().find(|path| !golden.contains_key(*path));
    extra.map(|path| format!("{path} should not be there"))
}

fn report(set: &Set, cases: &[Case], differences: Vec<(usize, Option<String>)>) -> Outcome {
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut shown = 0;
    for (at, difference) in &differences {
        let case = &cases[*at];
        let (passed, all) = groups.entry(&case.group).or_default();
        *all += 1;
        match difference {
            None => *passed += 1,
            Some(difference) if shown < 40 => {
                shown += 1;
                say(&format!("  {}: {difference}", case.name));
            }
            Some(_) => {}
        }
    }
    let passed: usize = groups.values().map(|(passed, _)| passed).sum();
    say(&format!(
        "  {passed} of {} as BuildKit: {groups:?}",
        cases.len()
    ));
    let reached = set.reached;
    assert!(
        passed >= reached,
        "{passed} cases pass, {reached} did before"
    );
    let broken = |difference: &Option<String>| difference.as_deref() == Some("hangs");
    assert!(
        !differences.iter().any(|(_, d)| broken(d)),
        "a definition hangs"
    );
    Outcome::Passed
}
