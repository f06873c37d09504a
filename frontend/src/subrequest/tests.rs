//! What answers look like; what is in them is compared with recorded ones in the crate's tests.

use lamina_proto::pb;
use serde_json::Value;
use serde_json::json;

use super::excerpt::excerpt;
use super::location::Location;
use super::table::Table;
use super::*;
use crate::lines::Lines;

fn json_of(result: &BuildResult) -> Value {
    serde_json::from_slice(&result.metadata["result.json"]).expect("JSON")
}

/// Row FDF-27: the form is BuildKit's, down to what is null and what is empty.
#[test]
fn questions_are_described() {
    let result = result(&described()).expect("encodes");
    let described = json_of(&result);
    let no_text = |name: &str| json!({"name": name, "description": ""});
    let outline = json!({
        "name": "frontend.outline",
        "version": "1.0.0",
        "type": "rpc",
        "description": "List all parameters current build target supports",
        "opts": [{"name": "target", "description": "Target build stage"}],
        "inputs": null,
        "metadata": [no_text("result.json"), no_text("result.txt")],
        "refs": null,
    });
    assert_eq!(described[0], outline);
    assert_eq!(described[1]["opts"], json!([]));
    assert_eq!(described[2]["opts"], Value::Null);
    let text = String::from_utf8_lossy(&result.metadata["result.txt"]);
    let expected = "NAME                 VERSION DESCRIPTION\n\
                    outline              1.0.0   List all parameters current build target supports\n\
                    targets              1.0.0   List all targets current build supports\n\
                    subrequests.describe 1.0.0   List available subrequest types\n";
    assert_eq!(text, expected);
    assert_eq!(result.metadata["version"], b"1.0.0");
    assert!(!result.metadata.contains_key("result.statuscode"));
}

/// Row ERR-08.
#[test]
fn unknown_questions_are_named() {
    for name in ["frontend.nope", "", "outline", "frontend.lint "] {
        let error = Subrequest::parse(name).expect_err(name);
        assert_eq!(error.to_string(), format!("unsupported request {name}"));
    }
}

#[test]
fn columns_are_as_wide_as_characters_are() {
    let mut table = Table::new(2);
    table.row(["é", "b", "last"]);
    table.row(["abc", "", "x"]);
    assert_eq!(table.to_string(), "é    b  last\nabc     x\n");
}

#[test]
fn excerpts_are_cut_at_the_ends_of_the_file() {
    let file = pb::SourceInfo {
        filename: "D".to_owned(),
        data: b"one\ntwo\nthree\nfour\nfive".to_vec(),
        ..pb::SourceInfo::default()
    };
    for (first, last, shown, marked) in [
        (1, 1, 1..=3, 1),
        (3, 3, 1..=5, 1),
        (5, 5, 3..=5, 1),
        (2, 3, 1..=4, 2),
        (4, 9, 3..=5, 2),
    ] {
        let text = excerpt(&file, Lines::new(first, last));
        assert!(text.starts_with(&format!("D:{first}\n---")), "{text}");
        let has = |line: usize| text.contains(&format!(" {line:3} | "));
        assert!(
            (1..=6).all(|line| has(line) == shown.contains(&line)),
            "{text}"
        );
        assert_eq!(text.matches(">>>").count(), marked, "{text}");
    }
    for (first, last) in [(0, 0), (6, 6), (u32::MAX, u32::MAX)] {
        assert_eq!(excerpt(&file, Lines::new(first, last)), "", "{first}");
    }
}

#[test]
fn places_name_every_line_once() {
    let place = |places: &[Lines]| serde_json::to_value(Location::of_all(places)).expect("encodes");
    let line = |line: u32| json!({"start": {"line": line}, "end": {"line": line}});
    assert_eq!(place(&[]), json!({}));
    // Line 0 stands before the file: members of the wire's messages that are 0 are left out.
    assert_eq!(
        place(&[Lines::new(0, 0)]),
        json!({"ranges": [{"start": {}, "end": {}}]})
    );
    let several = [Lines::new(4, 5), Lines::new(2, 2), Lines::new(5, 5)];
    assert_eq!(
        place(&several),
        json!({"ranges": [line(2), line(4), line(5)]})
    );
}
