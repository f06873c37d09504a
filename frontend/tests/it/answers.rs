//! Questions about a Dockerfile (rows FDF-27, FDF-28, FDF-29, FDF-30, ERR-08), beside the recorded
//! answers.

use std::sync::Arc;

use lamina_frontend::DockerfileFrontend;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend as _;
use lamina_llb::ResultRefs;
use serde_json::Value;
use serde_json::json;

use crate::bridge::RecordingBridge;
use crate::goldens::recorded;

pub(crate) async fn build(bridge: RecordingBridge) -> Result<BuildResult, BuildError> {
    DockerfileFrontend.build(Arc::new(bridge)).await
}

/// Returns the answer for programs.
pub(crate) fn ask(result: &BuildResult) -> Value {
    serde_json::from_slice(&result.metadata["result.json"]).expect("JSON")
}

async fn answer(dockerfile: &str, request: &str, options: &[(&str, &str)]) -> Value {
    let options = [&[("requestid", request)], options].concat();
    let result = build(RecordingBridge::of(dockerfile, &options)).await;
    let result = result.unwrap_or_else(|error| panic!("{dockerfile}: {error}"));
    assert!(
        matches!(result.refs, ResultRefs::Single(None)),
        "{dockerfile}"
    );
    ask(&result)
}

/// Returns the names of a list's members.
fn names(list: &Value) -> Vec<&str> {
    let members = list.as_array().into_iter().flatten();
    members
        .filter_map(|member| member["name"].as_str())
        .collect()
}

/// What the target needs counts: also what the default of a global argument is made of, and what
/// stages ask for that it starts or copies from. Each name is listed once, by its line.
#[tokio::test]
async fn the_outline_has_what_the_target_needs() {
    let stages = "FROM scratch AS unused\nARG U=1\nRUN --mount=type=secret,id=u x\n\
                  FROM scratch AS tools\nARG T=1\nRUN --mount=type=secret,id=t --mount=type=ssh x\n\
                  FROM scratch AS base\nARG X=1\nFROM base\nCOPY --from=tools /a /b\nARG X=2\n\
                  RUN --mount=type=bind,from=tools,target=/t --mount=type=secret,target=/s/own x\n";
    let outline = answer(stages, "frontend.outline", &[]).await;
    assert_eq!(names(&outline["args"]), ["T", "X"], "{outline}");
    assert_eq!(outline["args"][1]["value"], "2");
    assert_eq!(names(&outline["secrets"]), ["t", "own"], "{outline}");
    assert_eq!(names(&outline["ssh"]), ["default"], "{outline}");
    for (file, arguments) in [
        // A default that is made of another; one that nobody uses; one of the platform.
        (
            "ARG A=1\nARG B=$A\nARG C\nFROM scratch\nARG B\nARG TARGETARCH\n",
            vec!["A", "B"],
        ),
        (
            "ARG A=1\nARG B=2\nARG B=${B}$A\nFROM scratch\nARG B\n",
            vec!["A", "B"],
        ),
        ("ARG P=linux/amd64\nFROM --platform=$P scratch\n", vec!["P"]),
        ("ARG B=scratch\nFROM $B AS a\nFROM a\n", vec!["B"]),
        // Several of one line in the order of the line.
        ("FROM scratch\nARG Z A=1\n", vec!["Z", "A"]),
    ] {
        let outline = answer(file, "frontend.outline", &[]).await;
        assert_eq!(names(&outline["args"]), arguments, "{file}");
    }
}

/// A chain of stages in which each is used twice is looked at once.
#[tokio::test]
async fn outlines_of_many_paths_end() {
    let stage = |index: usize| match index {
        0 => "FROM scratch AS s0\nARG A=1\n".to_owned(),
        _ => format!("FROM s{0} AS s{index}\nCOPY --from=s{0} /a /a\n", index - 1),
    };
    let file: String = (0..200).map(stage).collect();
    let outline = answer(&file, "frontend.outline", &[]).await;
    assert_eq!(names(&outline["args"]), ["A"]);
}

/// Row FDF-29: variables stay in bases and platforms, and nothing is looked up.
#[tokio::test]
async fn targets_are_listed_as_they_are_written() {
    let file = "ARG V\nFROM --platform=$BUILDPLATFORM image:$V AS A\nFROM nowhere\n";
    let targets = answer(file, "frontend.targets", &[]).await;
    let first = json!({"name": "a", "base": "image:$V", "platform": "$BUILDPLATFORM",
                       "location": {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]}});
    assert_eq!(targets["targets"][0], first);
    // No linter looks, so nobody minds what it would be told.
    let commented = "FROM scratch AS a\n# check=skip=all;error=x\nENV A b\n";
    let targets = answer(commented, "frontend.targets", &[]).await;
    assert_eq!(names(&targets["targets"]), ["a"]);
    let none = answer("ARG A\n", "frontend.targets", &[]).await;
    assert_eq!(none["targets"], Value::Null);
}

/// Row FDF-30: without a target all stages are looked at; a build looks at those that it needs.
#[tokio::test]
async fn lint_looks_at_stages_that_a_build_leaves_out() {
    let file = "FROM scratch AS a\nENV A b\nFROM a AS b\nLABEL x=$Y\nFROM scratch AS c\nENV C d\n";
    for (target, lines) in [("", vec![2, 4, 6]), ("a", vec![2]), ("c", vec![6])] {
        let lint = answer(file, "frontend.lint", &[("target", target)]).await;
        let warnings = lint["warnings"].as_array().expect("some");
        let line = |warning: &Value| warning["location"]["ranges"][0]["start"]["line"].clone();
        assert_eq!(
            warnings.iter().map(line).collect::<Vec<_>>(),
            lines,
            "{target}"
        );
    }
    let bridge = Arc::new(RecordingBridge::of(file, &[]));
    let built = DockerfileFrontend.build(Arc::clone(&bridge) as _).await;
    assert!(built.is_ok());
    assert_eq!(
        bridge
            .warnings
            .lock()
            .expect("no test panics with it")
            .len(),
        1
    );
}

/// Row FDF-30: an error of the file is part of the answer, with its lines.
#[tokio::test]
async fn lint_says_what_a_build_would_fail_with() {
    let place = |lines: &[u32]| {
        let range = |line: &u32| json!({"start": {"line": line}, "end": {"line": line}});
        json!({"ranges": lines.iter().map(range).collect::<Vec<_>>()})
    };
    for (file, message, location) in [
        (
            "FROM scratch\nCPOY a b\n",
            "dockerfile parse error on line 2: unknown instruction: CPOY (did you mean COPY?)",
            place(&[2]),
        ),
        (
            "FROM scratch\nRUN --mount=type=bin \\\n  x\n",
            "unsupported mount type \"bin\" (did you mean bind?)",
            place(&[2, 3]),
        ),
        ("", "the Dockerfile cannot be empty", json!({})),
        (
            "# check=skip\nFROM scratch\n",
            "failed to parse check options: invalid check option \"skip\"",
            json!({}),
        ),
    ] {
        let lint = answer(file, "frontend.lint", &[]).await;
        let expected = json!({"message": message, "location": location});
        assert_eq!(lint["buildError"], expected, "{file}");
    }
}

/// Other answers fail with the file, without its lines, as clients know it.
#[tokio::test]
async fn outlines_and_targets_of_broken_files_are_errors() {
    for request in ["frontend.outline", "frontend.targets"] {
        let options = [("requestid", request)];
        let built = build(RecordingBridge::of("FROM scratch\nCPOY a b\n", &options)).await;
        let error = built.err().expect(request);
        assert!(error.message.ends_with("(did you mean COPY?)"), "{error}");
        assert_eq!(error.sources.len(), 0, "{request}");
    }
}

/// Row ERR-08: clients fall back on another frontend if the detail names their request.
#[tokio::test]
async fn unknown_questions_are_named_in_the_detail() {
    let options = [("requestid", "frontend.nope")];
    let built = build(RecordingBridge::of("FROM scratch\n", &options)).await;
    let error = built.err().expect("refused");
    assert_eq!(error.message, "unsupported request frontend.nope");
    assert_eq!(error.subrequest.as_deref(), Some("frontend.nope"));
}

/// The file is in the answer with how it was loaded, in the form that Go gives the wire's messages.
#[tokio::test]
async fn sources_are_whole() {
    let lint = answer("FROM scratch\n", "frontend.lint", &[]).await;
    let source = &lint["sources"][0];
    assert_eq!(source["data"], "RlJPTSBzY3JhdGNoCg==");
    let definition = &source["definition"];
    assert_eq!(
        definition["def"].as_array().map(Vec::len),
        Some(2),
        "{definition}"
    );
    let metadata = definition["metadata"].as_object().expect("an object");
    let descriptions = metadata
        .values()
        .map(|op| &op["description"]["llb.customname"]);
    let name = "[internal] load build definition from Dockerfile";
    assert!(
        descriptions.into_iter().any(|found| found == name),
        "{definition}"
    );
    let outline = answer("FROM scratch\n", "frontend.outline", &[]).await;
    assert_eq!(outline["sources"], json!(["RlJPTSBzY3JhdGNoCg=="]));
}

/// Whatever file a build can be asked for can be asked about: what ends the answer ends the build too.
#[tokio::test]
async fn all_recorded_files_can_be_asked_about() {
    let mut asked = 0;
    for case in recorded() {
        if case.kind != "build" {
            continue;
        }
        let built = build(RecordingBridge::of_case(&case)).await;
        let reason = built.err().map(|error| error.message);
        for request in ["frontend.lint", "frontend.outline"] {
            let mut case = case.clone();
            case.opts.insert("requestid".to_owned(), request.to_owned());
            match build(RecordingBridge::of_case(&case)).await {
                Ok(answer) => assert!(ask(&answer)["sources"].is_array(), "{}", case.name),
                Err(error) => assert_eq!(Some(error.message), reason, "{} {request}", case.name),
            }
            asked += 1;
        }
    }
    assert!(asked > 1800, "only {asked}");
}
