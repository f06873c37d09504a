//! Whether builds went as in the golden data.

use std::collections::BTreeMap;
use std::collections::HashMap;

use super::Verdict;
use super::builds::Observed;
use super::scenario::Build;
use super::scenario::Scenario;
use crate::tar_tree::Entry;

/// Numbers runs in the order build, vertex name, log, as the golden data does.
#[derive(Default)]
struct Runs(HashMap<String, usize>);

impl Runs {
    fn number(&mut self, id: &str) -> usize {
        let next = self.0.len();
        *self.0.entry(id.to_owned()).or_insert(next)
    }

    /// Replaces ids in an exported file's data.
    fn rename(&self, data: &str) -> String {
        self.0.iter().fold(data.to_owned(), |data, (id, number)| {
            data.replace(id, &format!("@run{number}"))
        })
    }
}

pub(super) fn compare(scenario: &Scenario, observed: &[Observed]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut runs = Runs::default();
    let mut ran = Vec::new();
    for observed in observed {
        let rows: BTreeMap<&str, Vec<usize>> = observed
            .seen
            .iter()
            .map(|(name, seen)| {
                (
                    &**name,
                    seen.runs.iter().map(|id| runs.number(id)).collect(),
                )
            })
            .collect();
        ran.push(rows);
    }
    for (at, ((build, observed), ran)) in scenario.builds.iter().zip(observed).zip(&ran).enumerate()
    {
        compare_rows(at, build, observed, ran, &mut verdict);
        let difference = outcome_difference(build, observed, &runs);
        verdict
            .differences
            .extend(difference.map(|text| format!("build {at}: {text}")));
    }
    verdict
}

fn compare_rows(
    at: usize,
    build: &Build,
    observed: &Observed,
    ran: &BTreeMap<&str, Vec<usize>>,
    verdict: &mut Verdict,
) {
    for row in &build.vertices {
        let stable = |field: &str| !row.unstable.iter().any(|unstable| unstable == field);
        let found = ran.get(&*row.name).cloned().unwrap_or_default();
        let swapped = may_swap(&row.name, build, &found, ran);
        if stable("ran") && found != row.ran && !swapped {
            let text = format!(
                "build {at}: {} ran {found:?}, golden {:?}",
                row.name, row.ran
            );
            verdict.differences.push(text);
        }
        let cached = observed.seen.get(&row.name).is_some_and(|seen| seen.cached);
        if stable("cached") && cached != row.cached {
            verdict
                .flags
                .push(format!("build {at}: {} cached {cached}", row.name));
        }
    }
}

/// Two vertices of one meaning run once; the golden data's note says that either may be the one.
fn may_swap(name: &str, build: &Build, found: &[usize], ran: &BTreeMap<&str, Vec<usize>>) -> bool {
    build.vertices.iter().any(|other| {
        let theirs = ran.get(&*other.name).map_or(&[][..], Vec::as_slice);
        other.name != name
            && found != theirs
            && other.ran == found
            && row_runs(build, name) == theirs
    })
}

fn row_runs<'a>(build: &'a Build, name: &str) -> &'a [usize] {
    let row = build.vertices.iter().find(|row| row.name == name);
    row.map_or(&[], |row| &row.ran)
}

fn outcome_difference(build: &Build, observed: &Observed, runs: &Runs) -> Option<String> {
    let stable = |field: &str| !build.unstable.iter().any(|unstable| unstable == field);
    match (&observed.outcome, &build.tree, &build.error) {
        (Ok(_), _, Some(error)) if stable("error") => Some(format!("should fail: {error}")),
        (Err(error), _, None) if stable("error") => Some(format!("fails: {error}")),
        (Err(error), _, Some(golden)) if stable("error") => error_difference(error, golden),
        (Ok(tree), Some(golden), _) if stable("tree") => tree_difference(tree, golden, runs),
        _ => None,
    }
}

/// Cancelled is cancelled; of other errors the ending counts, where it is not an id.
fn error_difference(error: &lamina_llb::BuildError, golden: &str) -> Option<String> {
    if golden == "canceled" {
        return (!error.cancelled).then(|| format!("fails with {error}, golden: canceled"));
    }
    let golden = golden.strip_prefix("failed to solve: ").unwrap_or(golden);
    let same = error.message == golden || ending(&error.message) == ending(golden);
    (!same).then(|| format!("fails with {error}, golden: {golden}"))
}

fn ending(message: &str) -> &str {
    message
        .split_once(" of ref ")
        .and_then(|(_, rest)| rest.split_once(": "))
        .map_or(message, |(_, end)| end)
}

fn tree_difference(tree: &[Entry], golden: &[Entry], runs: &Runs) -> Option<String> {
    let by_path = |entries: &[Entry]| -> BTreeMap<String, Entry> {
        let clean = |entry: &Entry| Entry {
            data: runs.rename(&entry.data),
            mtime: String::new(),
            xattrs: BTreeMap::new(),
            ..entry.clone()
        };
        entries
            .iter()
            .map(|entry| (entry.path.clone(), clean(entry)))
            .collect()
    };
    let (tree, golden) = (by_path(tree), by_path(golden));
    if tree == golden {
        return None;
    }
    let differs = |path: &&String| tree.get(*path) != golden.get(*path);
    let path = tree.keys().chain(golden.keys()).find(differs)?;
    Some(format!(
        "tree: ours {:?}, golden {:?}",
        tree.get(path),
        golden.get(path)
    ))
}
