//! Content digests against what BuildKit took for equal (rows FIL-25, LLB-17).
//!
//! The scenarios copy from a local folder that changes from build to build. A copy must be a hit exactly
//! where the same selection had the same content in an earlier build of the scenario.

use std::collections::HashSet;
use std::io::Read as _;

use base64::Engine as _;
use lamina_patterns::is_wildcard;
use lamina_proto::pb;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::Selection;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::Digest;
use prost::Message as _;
use serde_json::Value;

use crate::support::Fixture;
use crate::support::write;

/// Groups whose builds are one copy from one folder.
const GROUPS: [&str; 2] = ["copy-matrix", "metadata"];

/// Scenarios about something else than content digests, with the reason.
const EXCEPTIONS: [(&str, &str); 1] = [(
    "metadata/content changed with equal size and mtime",
    "the transfer does not notice the change, so the content does not arrive",
)];

#[test]
fn selections_are_equal_where_buildkit_says_so() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for scenario in scenarios() {
        let name = scenario["name"].as_str().unwrap();
        let group = scenario["group"].as_str().unwrap();
        let excepted = EXCEPTIONS.iter().any(|(known, _)| *known == name);
        if !GROUPS.contains(&group) || excepted {
            continue;
        }
        count += 1;
        wrong.extend(differences(name, &scenario));
    }
    assert!(count > 25, "only {count} scenarios");
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn scenarios() -> Vec<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/goldens/cache/scenarios.jsonl.zst"
    );
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    let mut decoder = zstd::Decoder::new(file).unwrap();
    decoder.read_to_string(&mut text).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Plays one scenario and returns the builds whose hit or miss is not BuildKit's.
fn differences(name: &str, scenario: &Value) -> Vec<String> {
    let fixture = Fixture::new();
    let mut seen = HashSet::new();
    let mut wrong = Vec::new();
    for (index, build) in scenario["builds"].as_array().unwrap().iter().enumerate() {
        let Some(expected) = was_hit(build) else {
            continue;
        };
        let stack = fixture.stack(&LayerStack::empty(), |root| make_folder(root, build));
        let hit = !seen.insert(key(build, &stack));
        if hit != expected {
            wrong.push(format!(
                "{name}, build {index}: hit {hit}, BuildKit {expected}"
            ));
        }
    }
    wrong
}

/// Says whether the copy was a hit; `None` where that was not the same in all runs.
fn was_hit(build: &Value) -> Option<bool> {
    let vertices = build["vertices"].as_array()?.iter();
    let mut copies = vertices.filter(|vertex| vertex["name"] == "copy");
    let copy = copies.next()?;
    let stable = copy["unstable"].is_null() && build["error"].is_null();
    stable.then(|| copy["cached"].as_bool()).flatten()
}

/// The content of all that the copies of a build select, with the copies themselves.
fn key(build: &Value, stack: &LayerStack) -> Vec<Digest> {
    let text = build["definition"].as_str().unwrap();
    let definition = base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap();
    let definition = pb::Definition::decode(definition.as_slice()).unwrap();
    let mut key = Vec::new();
    for op in &definition.def {
        let op = pb::Op::decode(op.as_slice()).unwrap();
        let Some(pb::op::Op::File(file)) = op.op else {
            continue;
        };
        for action in file.actions {
            if let Some(pb::file_action::Action::Copy(copy)) = action.action {
                let found = stack.digest(&selection(&copy), &CancelToken::new());
                key.push(found.unwrap_or(Digest::of(b"missing")));
            }
        }
    }
    key
}

fn selection(copy: &pb::FileActionCopy) -> Selection {
    Selection {
        path: copy.src.clone().into_bytes(),
        wildcard: copy.allow_wildcard && is_wildcard(copy.src.as_bytes()),
        follow_links: copy.follow_symlink,
        include: copy.include_patterns.clone(),
        exclude: copy.exclude_patterns.clone(),
    }
}

/// Makes the folder as it arrives from a client: without owners and user attributes.
fn make_folder(root: &WriteDir, build: &Value) -> Result<(), SnapshotError> {
    let lists = build["locals"].as_object().unwrap().values();
    for item in lists.filter_map(Value::as_array).flatten() {
        let path = item["path"].as_str().unwrap();
        let (dirs, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut dir = root.clone();
        for part in dirs.split('/').filter(|part| !part.is_empty()) {
            dir = match dir.open_dir(part.as_bytes()) {
                Ok(dir) => dir,
                Err(_) => dir.make_dir(part.as_bytes(), 0o755)?,
            };
        }
        make_item(root, &dir, name, item)?;
    }
    Ok(())
}

fn make_item(
    root: &WriteDir,
    dir: &WriteDir,
    name: &str,
    item: &Value,
) -> Result<(), SnapshotError> {
    let text = |field: &str| item[field].as_str().unwrap_or_default();
    match text("type") {
        "dir" => drop(dir.make_dir(name.as_bytes(), 0o755)?),
        "symlink" => return dir.symlink(name.as_bytes(), text("link").as_bytes()),
        "hardlink" => {
            let first = root.lookup(text("link").as_bytes())?.unwrap();
            return dir.link_from(name.as_bytes(), &first);
        }
        _ => write(dir, name, text("data"))?,
    }
    if text("type") == "dir" {
        // A transfer on top of an earlier one does not notice that only a directory's mode changed.
        return Ok(());
    }
    let mode = u32::from_str_radix(item["mode"].as_str().unwrap_or("0644"), 8).unwrap();
    let change = MetadataChange {
        mode: (!item["mode"].is_null()).then_some(mode),
        ..MetadataChange::default()
    };
    dir.set_metadata(name.as_bytes(), &change)
}
