//! Op graphs with BuildKit's results (rows FIL-01 to FIL-25): 3,221, and further ones about corners.
//!
//! Ours must be equal in all but some rows of either [`Set`]; docs/differences.md has both.
//!
//! Set `LAMINA_GOLDEN_REPORT` to a file name to have every difference written there.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt::Write;
use std::io::Read;
use std::panic::AssertUnwindSafe;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use base64::Engine;
use lamina_testkit::namespace;
use lamina_testkit::namespace::Ids;
use rayon::prelude::*;
use serde_json::Value;

use crate::devices;
use crate::machine::Machine;
use crate::machine::one_in;
use crate::ops::Ops;
use crate::rows::difference;
use crate::rows::rows;

/// Rows of one recording.
pub(crate) struct Set {
    ops: &'static str,
    cases: &'static str,
    /// How many rows there are.
    all: usize,
    /// How many rows succeed here and fail there ([`is_improved`]).
    improved: usize,
    /// How the names of rows begin whose results are others.
    otherwise: &'static [&'static str],
}

/// The one that is otherwise gives an equivalent tree: a difference from a merge that begins and ends
/// with the same input. Merges keep the topmost of repeated layers, so nothing is left to differ.
pub(crate) const FIRST: Set = Set {
    ops: "ops.jsonl.zst",
    cases: "cases.jsonl.zst",
    all: 3221,
    improved: 24,
    otherwise: &["random 216: "],
};

/// Patterns, links, owners, modes, archives, times and layers at their corners. Recorded as the first, one
/// build at a time and without a cache: else a result may be that of an earlier copy of equal files,
/// whatever its pattern matches.
pub(crate) const FURTHER: Set = Set {
    ops: "further-ops.jsonl.zst",
    cases: "further-cases.jsonl.zst",
    all: 951,
    improved: 0,
    otherwise: &[
        "rm \"/abs\"",
        "rm \"/abs/\"",
        "long line: copy \"/f\" \"/o\" p own=app@0:",
        "long line: copy \"/f\" \"/o\" p own=app@0:staff@0",
        "pax overlay attribute: ",
        "contiguous file: ",
        "slash at the end of a file: ",
        "apply the diff of rm f ",
        "apply the diff of rm inner ",
        "apply the diff of opaque with file ",
        "apply the diff of dir to link ",
        "apply the diff of file to link ",
        "apply the diff of rewrite ",
        "apply the diff of same again ",
        "apply the diff of into d ",
        "merge base, diff opaque, diff into d",
        "write over merge base, diff opaque, diff into d",
        "write over merge base, diff rm inner, diff opaque with file",
        "attributes differ",
        "attributes by copy over",
        "a directory copied onto itself",
        "diff where hard links part",
        "diff of merges",
    ],
};

/// What came of a row.
enum Outcome {
    Equal,
    Improved,
    /// In these words.
    Different(String),
}

#[test]
fn results_are_those_of_buildkit() {
    compare(&FIRST);
}

#[test]
fn further_results_are_those_of_buildkit() {
    compare(&FURTHER);
}

/// Compares the results of all rows of `set`.
fn compare(set: &Set) {
    let Some(machine) = Machine::new() else {
        return;
    };
    let start = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let start = i64::try_from(start.as_secs()).expect("before the year 292 billion");
    let ops = Ops::new(machine, set.ops());
    let mut cases: Vec<Value> = set.cases().into_iter().step_by(one_in()).collect();
    if namespace::inside() == Some(Ids::All) {
        cases.iter_mut().for_each(devices::replace_in_case);
    }
    let outcomes: Vec<_> = cases
        .par_iter()
        .map(|case| judge(&ops, case, start))
        .collect();
    let report = Report::new(&cases, &outcomes);
    report.publish();
    for name in &report.different {
        let known = set.otherwise.iter().any(|start| name.starts_with(start));
        assert!(known, "{name}");
    }
    assert_eq!(cases.len(), set.all.div_ceil(one_in()));
    if one_in() == 1 {
        assert_eq!(report.improved, set.improved);
        assert_eq!(report.different.len(), set.otherwise.len());
    }
}

/// Compares the result of a row.
fn judge(ops: &Ops, case: &Value, start: i64) -> Outcome {
    let digests = case["ops"].as_array().expect("ops");
    let terminal = digests
        .last()
        .and_then(Value::as_str)
        .expect("a terminal op");
    let solved = std::panic::catch_unwind(AssertUnwindSafe(|| ops.solve(terminal)));
    let solved = solved.unwrap_or_else(|_| Err("PANIC".to_owned()));
    let different = match (solved, case["error"].as_str(), case["tree"].as_array()) {
        (Err(error), Some(wanted), _) => differing_cause(&error, wanted),
        (Ok(_), Some(wanted), _) if is_improved(case, wanted) => return Outcome::Improved,
        (Ok(_), Some(wanted), _) => Some(format!("succeeds, should fail: {wanted}")),
        (Err(error), None, _) => Some(format!("fails: {error}")),
        (Ok(stack), None, Some(wanted)) => difference(&rows(&stack.tree()), wanted, start),
        (Ok(_), None, None) => Some("the case has no result".to_owned()),
    };
    different.map_or(Outcome::Equal, Outcome::Different)
}

/// Says whether success where BuildKit has the error `wanted` is an improvement.
///
/// With include or exclude patterns and followed symlinks, BuildKit's cache key follows every symlink
/// in the source, so one that leads nowhere fails the copy even if it is only a neighbour; without
/// patterns the same copy succeeds.
fn is_improved(case: &Value, wanted: &str) -> bool {
    let name = case["name"].as_str().unwrap_or_default();
    case["group"] == "patterns"
        && name.starts_with("copy \"/\" to /out, ")
        && wanted.ends_with("\"/ldang\": not found")
}

/// Compares why two things failed: the words that name the cause.
fn differing_cause(error: &str, wanted: &str) -> Option<String> {
    const CAUSES: [(&str, &[&str]); 13] = [
        ("kind", &["regular file"]),
        ("archive", &["invalid tar header"]),
        (
            "end",
            &["unexpected EOF", "unexpected end of file", "incomplete"],
        ),
        ("entry", &["unhandled tar header type"]),
        ("name", &["file name too long"]),
        ("number", &["out of range", "invalid syntax"]),
        ("directory link", &["links to directories", "not permitted"]),
        ("missing", &["not found", "no such file"]),
        (
            "directory",
            &[
                "not a directory",
                "non-directory",
                "is a directory",
                "replace to directory",
            ],
        ),
        ("links", &["too many", "symbolic links"]),
        ("syntax", &["syntax"]),
        ("root", &["invalid empty path", "root directory"]),
        ("exists", &["exists"]),
    ];
    let cause = |text: &str| {
        let found = CAUSES
            .iter()
            .find(|(_, words)| words.iter().any(|word| text.contains(word)));
        found.map(|(name, _)| *name)
    };
    let same = cause(error) == cause(wanted) && cause(error).is_some();
    (!same).then(|| format!("fails for another reason: {error}\n    wanted: {wanted}"))
}

#[derive(Default)]
struct Report {
    /// Of each group, how many are equal, and how many there are.
    groups: BTreeMap<String, (usize, usize)>,
    improved: usize,
    /// The names of rows that are neither equal nor improved.
    different: Vec<String>,
    text: String,
}

impl Report {
    fn new(cases: &[Value], outcomes: &[Outcome]) -> Self {
        let mut report = Self::default();
        for (case, outcome) in cases.iter().zip(outcomes) {
            let group = case["group"].as_str().expect("a group");
            let name = case["name"].as_str().expect("a name");
            let (equal, all) = report.groups.entry(group.to_owned()).or_default();
            *all += 1;
            match outcome {
                Outcome::Equal => *equal += 1,
                Outcome::Improved => report.improved += 1,
                Outcome::Different(text) => {
                    report.different.push(name.to_owned());
                    writeln!(report.text, "[{group}] {name}\n    {text}").expect("a string");
                }
            }
        }
        report
    }

    /// Prints the score and the first differences.
    fn publish(&self) {
        use std::io::Write;
        let mut out = String::new();
        for (group, (equal, all)) in &self.groups {
            out.push_str(&format!("{group:10} {equal:5} of {all:5}\n"));
        }
        out.extend(self.text.lines().take(60).flat_map(|line| [line, "\n"]));
        std::io::stderr()
            .write_all(out.as_bytes())
            .expect("standard error");
        if let Ok(file) = std::env::var("LAMINA_GOLDEN_REPORT") {
            std::fs::write(file, &self.text).expect("the report");
        }
        assert!(!self.text.contains("PANIC"), "a case panicked");
    }
}

impl Set {
    /// All ops, by the beginning of their digests.
    pub(crate) fn ops(&self) -> HashMap<String, Vec<u8>> {
        let engine = base64::engine::general_purpose::STANDARD;
        let pair = |line: Value| {
            let digest = line["digest"].as_str().expect("a digest").to_owned();
            let op = line["op"].as_str().expect("an op");
            (digest, engine.decode(op).expect("base64"))
        };
        lines(self.ops).into_iter().map(pair).collect()
    }

    /// All rows.
    pub(crate) fn cases(&self) -> Vec<Value> {
        lines(self.cases)
    }
}

fn lines(name: &str) -> Vec<Value> {
    let path = format!("{}/../tests/goldens/{name}", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::File::open(&path).expect(&path);
    let mut text = String::new();
    let mut decoder = zstd::Decoder::new(file).expect("zstd");
    decoder.read_to_string(&mut text).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}
