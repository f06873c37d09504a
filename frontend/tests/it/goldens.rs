//! The recorded cases, as far as they can be checked without running anything: config, history,
//! errors that the frontend finds, warnings, and the answers to questions about the file. Trees and
//! the errors of steps are compared where an engine runs the cases.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lamina_frontend::DockerfileFrontend;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_llb::Warning;
use serde_json::Value;
use serde_json::json;

use crate::bridge::RecordingBridge;
use crate::cases;
use crate::cases::Case;
use crate::cases::CaseError;
use crate::cases::CaseWarning;

/// The part of the cases that must agree, of 1000; raised when more do.
const REACHED_PER_MILLE: usize = 1000;

/// What steps and the engine's loader say; a build that ends so has passed the frontend.
const ENGINE_ERRORS: [&str; 15] = [
    "process \"",
    "lstat /",
    "failed to load cache key",
    "digest mismatch",
    "failed to compute cache key",
    "failed to load LLB",
    "granting entitlement",
    "rpc error",
    "mkdir /",
    "open /",
    "cannot copy to non-directory",
    "invalid user index",
    "no SSH key",
    "secret ",
    "cannot replace to directory",
];

/// What the bridge cannot show: it has files, but no directories.
const NEEDS_A_TREE: [&str; 1] = ["files/is-directory"];

/// Returns the cases of all files.
pub(crate) fn recorded() -> Vec<Case> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/dockerfile");
    let files = ["cases.jsonl", "further.jsonl", "platforms.jsonl"];
    files
        .iter()
        .flat_map(|name| cases::load(&Path::new(dir).join(name)))
        .collect()
}

#[tokio::test]
async fn recorded_builds_agree() {
    let mut groups: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut differences = Vec::new();
    for case in recorded() {
        if case.kind != "build" || NEEDS_A_TREE.contains(&case.name.as_str()) {
            continue;
        }
        let score = groups.entry(case.group.clone()).or_default();
        score.1 += 1;
        match check(&case).await {
            Ok(()) => score.0 += 1,
            Err(difference) => differences.push(format!("{}: {difference}", case.name)),
        }
    }
    let (passed, total) = groups
        .values()
        .fold((0, 0), |sum, s| (sum.0 + s.0, sum.1 + s.1));
    let mut report: Vec<String> = groups
        .iter()
        .map(|(group, (passed, total))| format!("{group} {passed}/{total}"))
        .collect();
    report.push(format!("together {passed}/{total}"));
    report.extend(differences.into_iter().take(40));
    let report = report.join("\n");
    assert!(passed * 1000 >= total * REACHED_PER_MILLE, "{report}");
    if passed < total {
        println!("{report}");
    }
}

/// Rows FDF-28 to FDF-30: the answers to `frontend.outline`, `frontend.targets` and `frontend.lint`.
#[tokio::test]
async fn recorded_answers_agree() {
    let mut compared = 0;
    let mut differences = Vec::new();
    for mut case in recorded() {
        if case.kind == "build" {
            continue;
        }
        compared += 1;
        let request = format!("frontend.{}", case.kind);
        case.opts.insert("requestid".to_owned(), request);
        let caps = "moby.buildkit.frontend.subrequests+forward".to_owned();
        case.opts.insert("frontend.caps".to_owned(), caps);
        if let Err(difference) = check_answer(&case).await {
            differences.push(format!("{}: {difference}", case.name));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared >= 48, "only {compared}");
}

async fn check_answer(case: &Case) -> Result<(), String> {
    let bridge = Arc::new(RecordingBridge::of_case(case));
    let outcome = DockerfileFrontend.build(Arc::clone(&bridge) as _).await;
    let warnings = bridge.warnings.lock().expect("no test panics with it");
    compare("warnings", &sorted(&warnings), &case.warnings)?;
    match (&case.subresult, outcome) {
        (Some(expected), Ok(result)) => compare("answer", &answer(&result)?, expected),
        (None, Err(error)) => compare("error", &Some(described(&error)), &case.error),
        (expected, outcome) => Err(format!("{:?} instead of {expected:?}", outcome.err())),
    }
}

/// Returns the answer in the form in which answers are recorded.
fn answer(result: &BuildResult) -> Result<Value, String> {
    let text = |key: &str| {
        let value = result.metadata.get(key).cloned().unwrap_or_default();
        String::from_utf8(value).map_err(|error| error.to_string())
    };
    let mut answer = serde_json::Map::new();
    let mut json: Value =
        serde_json::from_str(&text("result.json")?).map_err(|error| error.to_string())?;
    let sources = json.get_mut("sources").map(Value::take);
    let names =
        |source: &Value| json!({"filename": source["filename"], "language": source["language"]});
    match sources.as_ref().and_then(Value::as_array) {
        // Answers without places in several files have the file's bytes alone, which are not recorded.
        Some(files) if files[0].is_object() => {
            json["sources"] = files.iter().map(names).collect();
        }
        _ => drop(
            json.as_object_mut()
                .map(|members| members.remove("sources")),
        ),
    }
    answer.insert("json".to_owned(), json);
    answer.insert("text".to_owned(), text("result.txt")?.into());
    if result.metadata.contains_key("result.statuscode") {
        answer.insert("statuscode".to_owned(), text("result.statuscode")?.into());
    }
    Ok(answer.into())
}

/// Runs a case and says how it differs from the record.
async fn check(case: &Case) -> Result<(), String> {
    let bridge = Arc::new(RecordingBridge::of_case(case));
    let outcome = DockerfileFrontend.build(Arc::clone(&bridge) as _).await;
    let warnings = bridge.warnings.lock().expect("no test panics with it");
    compare("warnings", &sorted(&warnings), &case.warnings)?;
    match (&case.error, outcome) {
        (Some(expected), Err(error)) => compare("error", &described(&error), expected),
        (Some(expected), Ok(_)) if is_engine_error(expected) => Ok(()),
        (Some(expected), Ok(_)) => Err(format!("succeeds instead of {expected:?}")),
        (None, Err(error)) => Err(format!("fails: {:?}", described(&error))),
        (None, Ok(result)) => {
            let refused = bridge.refused.lock().expect("no test panics with it");
            compare("loader", &*refused, &Vec::new())?;
            check_result(case, &result)
        }
    }
}

fn compare<T: PartialEq + std::fmt::Debug>(
    what: &str,
    ours: &T,
    expected: &T,
) -> Result<(), String> {
    if ours == expected {
        return Ok(());
    }
    Err(format!("{what}\n    ours {ours:?}\n    want {expected:?}"))
}

fn is_engine_error(error: &CaseError) -> bool {
    ENGINE_ERRORS
        .iter()
        .any(|start| error.message.starts_with(start))
}

fn check_result(case: &Case, result: &BuildResult) -> Result<(), String> {
    for (platform, expected) in &case.results {
        let name = format!("containerimage.config/{platform}");
        check_image(result.metadata.get(&name), expected)?;
    }
    let Some(expected) = &case.result else {
        return Ok(());
    };
    let plain = "containerimage.config".to_owned();
    let config = result.metadata.get(&plain).or_else(|| {
        let mut keys = result.metadata.iter();
        keys.find(|(key, _)| key.starts_with("containerimage.config/"))
            .map(|(_, value)| value)
    });
    check_image(config, expected)
}

fn check_image(config: Option<&Vec<u8>>, expected: &cases::CaseResult) -> Result<(), String> {
    let bytes = config.ok_or("no config")?;
    let mut config: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let members = config.as_object_mut().ok_or("the config is no object")?;
    members.remove("created");
    members.remove("rootfs");
    let history = members
        .remove("history")
        .unwrap_or_else(|| Value::Array(Vec::new()));
    compare("config", &config, &expected.config)?;
    compare(
        "history",
        &our_entries(&history),
        &expected_entries(expected),
    )
}

fn our_entries(history: &Value) -> Vec<Value> {
    let mut entries = history.as_array().cloned().unwrap_or_default();
    for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
        entry.remove("created");
    }
    entries
}

/// Leaves out what the exporter adds.
fn expected_entries(expected: &cases::CaseResult) -> Vec<Value> {
    let entries = expected.history.clone().unwrap_or_default();
    let made_here = |entry: &Value| entry["comment"] == "buildkit.dockerfile.v0";
    entries.into_iter().filter(made_here).collect()
}

fn described(error: &BuildError) -> CaseError {
    let lines = error.sources.iter().flat_map(|source| &source.ranges);
    let lines: Vec<u32> = lines
        .filter_map(|range| range.start.as_ref())
        .map(|position| position.line.unsigned_abs())
        .collect();
    let first = lines.iter().min().copied();
    let file = error
        .sources
        .first()
        .map(|source| source.info.filename.clone());
    CaseError {
        message: cases::as_go_clients_print(error),
        lines: first.zip(lines.iter().max().copied()),
        file: file.filter(|name| name != "Dockerfile" && !name.ends_with("/Dockerfile")),
    }
}

fn sorted(warnings: &[Warning]) -> Vec<CaseWarning> {
    let line = |position: &Option<lamina_proto::pb::Position>| {
        position
            .as_ref()
            .map_or(0, |position| position.line.unsigned_abs())
    };
    let mut list: Vec<CaseWarning> = warnings
        .iter()
        .map(|warning| CaseWarning {
            short: warning.short.clone(),
            url: warning.url.clone(),
            lines: warning
                .ranges
                .first()
                .zip(warning.ranges.last())
                .map(|(first, last)| (line(&first.start), line(&last.end))),
        })
        .collect();
    list.sort_by(|a, b| (a.lines, &a.short).cmp(&(b.lines, &b.short)));
    list
}
