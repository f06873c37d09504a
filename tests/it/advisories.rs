//! `docs/security.md` is true: each advisory is named by the tests that its row gives.

use std::fs;
use std::path::Path;

fn project() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The cells of the table's rows.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with('|'));
    lines
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .filter(|cells: &Vec<&str>| cells.len() == 4 && !cells[0].starts_with("---"))
        .skip(1)
        .collect()
}

/// What is between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Returns the text of the file of `file::test`, and the test.
fn file_and_name(test: &str) -> (String, &str) {
    let (file, name) = test.split_once("::").expect("a file and a test");
    let path = project().join(file);
    let text = fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (text, name)
}

#[test]
fn every_advisory_has_its_tests() {
    let text = fs::read_to_string(project().join("docs/security.md")).expect("there");
    let rows = rows(&text);
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        let advisories: Vec<&str> = row[0].split(' ').filter(|id| id.contains('-')).collect();
        let tests = quoted(row[3]);
        assert!(!tests.is_empty(), "no test: {row:?}");
        assert!(!advisories.is_empty(), "no advisory: {row:?}");
        for advisory in advisories {
            let named = tests.iter().any(|test| {
                let (text, _) = file_and_name(test);
                text.contains(advisory)
            });
            assert!(named, "{advisory}: none of {tests:?} names it");
        }
        for place in quoted(row[2]) {
            assert!(project().join(place).exists(), "{place} is not there");
        }
        for test in tests {
            let (text, name) = file_and_name(test);
            assert!(text.contains(&format!("fn {name}(")), "no test {test}");
        }
    }
}
