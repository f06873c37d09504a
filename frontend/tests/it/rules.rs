//! The rules of lint, each with a file that breaks it and one that does not (row DFL-12), and what
//! turns them on and off (rows DFL-01, FDF-37).

use std::sync::Arc;

use lamina_frontend::DockerfileFrontend;
use lamina_frontend::lint::Rule;
use lamina_llb::Frontend as _;
use serde_json::Value;

use crate::answers::ask;
use crate::answers::build;
use crate::bridge::RecordingBridge;

/// Where rules are explained.
const PAGES: &str = "https://docs.docker.com/go/dockerfile/rule/";

/// A finding: rule, page, message, first and last line.
type Found = (String, String, String, (u64, u64));

/// Serves a file, an ignore file, images for two platforms, and the argument BASE.
fn bridge(dockerfile: &str, options: &[(&str, &str)]) -> RecordingBridge {
    let options = [&[("build-arg:BASE", "scratch")], options].concat();
    let mut bridge = RecordingBridge::of(dockerfile, &options);
    bridge.add("context", ".dockerignore", b"*.log\n");
    for architecture in ["amd64", "arm64"] {
        let config = format!(
            r#"{{"os":"linux","architecture":"{architecture}","rootfs":{{"type":"layers"}}}}"#
        );
        let name = format!("docker.io/library/{architecture}:latest");
        bridge.images.insert(name, config.into_bytes());
    }
    bridge
}

/// Returns what `frontend.lint` answers.
async fn lint(dockerfile: &str, options: &[(&str, &str)]) -> Vec<Found> {
    let options = [&[("requestid", "frontend.lint")], options].concat();
    let result = build(bridge(dockerfile, &options)).await.expect("answered");
    let json = ask(&result);
    assert_eq!(json["buildError"], Value::Null, "{dockerfile}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found = |warning: &Value| {
        let ranges = warning["location"]["ranges"].as_array().expect("a place");
        let line = |range: Option<&Value>| range.and_then(|range| range["start"]["line"].as_u64());
        let lines = line(ranges.first()).zip(line(ranges.last()));
        let (rule, url) = (text(&warning["ruleName"]), text(&warning["url"]));
        (rule, url, text(&warning["detail"]), lines.expect("lines"))
    };
    let warnings = json["warnings"].as_array().cloned().unwrap_or_default();
    let status = &result.metadata["result.statuscode"];
    let expected: &[u8] = if warnings.is_empty() { b"0" } else { b"1" };
    assert_eq!(status, expected, "{dockerfile}");
    warnings.iter().map(found).collect()
}

/// Returns the names of the rules that a file breaks.
async fn broken(dockerfile: &str, options: &[(&str, &str)]) -> Vec<String> {
    let found = lint(dockerfile, options).await;
    found.into_iter().map(|(rule, ..)| rule).collect()
}

/// Checks that a build warns of what the answer has, in the form of warnings.
async fn builds_warn(dockerfile: &str, (rule, url, message, (line, _)): &Found) {
    let bridge = Arc::new(bridge(dockerfile, &[]));
    let built = DockerfileFrontend.build(Arc::clone(&bridge) as _).await;
    assert!(built.is_ok(), "{:?}", built.err());
    let warnings = bridge.warnings.lock().expect("no test panics with it");
    let told: Vec<_> = warnings
        .iter()
        .map(|warning| (warning.short.clone(), warning.url.clone()))
        .collect();
    let expected = (format!("{rule}: {message} (line {line})"), url.clone());
    assert_eq!(told, [expected]);
}

/// One test for each rule.
macro_rules! rules {
    ($($test:ident: $rule:literal $page:literal
        breaks $broken:literal at $lines:expr, $message:literal;
        keeps $clean:literal;)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                let url = if $page.is_empty() { String::new() } else { format!("{PAGES}{}/", $page) };
                let expected = ($rule.to_owned(), url, $message.to_owned(), $lines);
                builds_warn($broken, &expected).await;
                assert_eq!(lint($broken, &[]).await, [expected]);
                assert_eq!(lint($clean, &[]).await, []);
            }
        )*

        /// The rules that have a test.
        const TESTED: &[&str] = &[$($rule),*];
    };
}

rules! {
    stage_name_casing: "StageNameCasing" "stage-name-casing"
        breaks "FROM scratch AS Base\n" at (1, 1), "Stage name 'Base' should be lowercase";
        keeps "FROM scratch AS base\n";
    from_as_casing: "FromAsCasing" "from-as-casing"
        breaks "FROM scratch \\\n  as a\n" at (1, 2), "'as' and 'FROM' keywords' casing do not match";
        keeps "from scratch as a\n";
    no_empty_continuation: "NoEmptyContinuation" "no-empty-continuation"
        breaks "FROM scratch\nENV A=1 \\\n\n  B=2\n" at (4, 4), "Empty continuation line";
        keeps "FROM scratch\nENV A=1 \\\n  # not empty\n  B=2\n";
    consistent_instruction_casing: "ConsistentInstructionCasing" "consistent-instruction-casing"
        breaks "FROM scratch\nenv A=b\n" at (2, 2),
        "Command 'env' should match the case of the command majority (uppercase)";
        keeps "from scratch\nenv A=b\n";
    duplicate_stage_name: "DuplicateStageName" "duplicate-stage-name"
        breaks "FROM scratch AS a\nFROM scratch AS a\n" at (2, 2),
        "Duplicate stage name \"a\", stage names should be unique";
        keeps "FROM scratch AS a\nFROM scratch AS b\n";
    reserved_stage_name: "ReservedStageName" "reserved-stage-name"
        breaks "FROM scratch AS context\n" at (1, 1),
        "Stage name should not use the same name as reserved stage \"context\"";
        keeps "FROM scratch AS contexts\n";
    json_args_recommended: "JSONArgsRecommended" "json-args-recommended"
        breaks "FROM scratch\nCMD run\n" at (2, 2),
        "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals";
        keeps "FROM scratch\nSHELL [\"sh\"]\nENTRYPOINT run\nCMD [\"x\"]\n";
    maintainer_deprecated: "MaintainerDeprecated" "maintainer-deprecated"
        breaks "FROM scratch\nMAINTAINER me\n" at (2, 2),
        "Maintainer instruction is deprecated in favor of using label";
        keeps "FROM scratch\nLABEL org.opencontainers.image.authors=me\n";
    undefined_arg_in_from: "UndefinedArgInFrom" "undefined-arg-in-from"
        breaks "ARG VERSION=1\nFROM scratch AS a\nFROM ${VERSON:-a}\n" at (3, 3),
        "FROM argument 'VERSON' is not declared (did you mean VERSION?)";
        keeps "ARG VERSION=a\nFROM scratch AS a\nFROM ${VERSION}\n";
    workdir_relative_path: "WorkdirRelativePath" "workdir-relative-path"
        breaks "FROM scratch\nWORKDIR x\nWORKDIR y\n" at (2, 2),
        "Relative workdir \"x\" can have unexpected results if the base image changes";
        keeps "FROM scratch\nWORKDIR /x\nWORKDIR y\n";
    undefined_var: "UndefinedVar" "undefined-var"
        breaks "FROM scratch\nENV VERSION=1\nLABEL a=$VERSON\n" at (3, 3),
        "Usage of undefined variable '$VERSON' (did you mean $VERSION?)";
        keeps "FROM scratch\nARG VERSION\nLABEL a=$VERSION\n";
    multiple_instructions_disallowed: "MultipleInstructionsDisallowed" "multiple-instructions-disallowed"
        breaks "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\n" at (2, 2),
        "Multiple CMD instructions should not be used in the same stage because only the last one will be used";
        keeps "FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]\n";
    legacy_key_value_format: "LegacyKeyValueFormat" "legacy-key-value-format"
        breaks "FROM scratch\nLABEL a b\n" at (2, 2),
        "\"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format";
        keeps "FROM scratch\nLABEL a=b\n";
    // Row DFL-13: a warning, and the build goes on.
    invalid_base_image_platform: "InvalidBaseImagePlatform" ""
        breaks "FROM arm64\n" at (1, 1),
        "Base image arm64 was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for current build";
        keeps "FROM amd64\n";
    redundant_target_platform: "RedundantTargetPlatform" "redundant-target-platform"
        breaks "FROM --platform=$TARGETPLATFORM scratch\n" at (1, 1),
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior";
        keeps "FROM --platform=$BUILDPLATFORM scratch\n";
    secrets_used_in_arg_or_env: "SecretsUsedInArgOrEnv" "secrets-used-in-arg-or-env"
        breaks "FROM scratch\nARG API_TOKEN\n" at (2, 2),
        "Do not use ARG or ENV instructions for sensitive data (ARG \"API_TOKEN\")";
        keeps "FROM scratch\nARG API_TOKEN_FILE\nENV PUBLIC_KEY=1 MONKEY=2\n";
    invalid_default_arg_in_from: "InvalidDefaultArgInFrom" "invalid-default-arg-in-from"
        breaks "ARG BASE\nFROM $BASE\n" at (2, 2),
        "Default value for ARG $BASE results in empty or invalid base image name";
        keeps "ARG BASE=other\nFROM $BASE\n";
    from_platform_flag_const_disallowed: "FromPlatformFlagConstDisallowed" "from-platform-flag-const-disallowed"
        breaks "FROM --platform=linux/amd64 scratch AS a\n" at (1, 1),
        "FROM --platform flag should not use constant value \"linux/amd64\"";
        keeps "FROM --platform=linux/amd64 scratch AS build_amd64\n";
    copy_ignored_file: "CopyIgnoredFile" "copy-ignored-file"
        breaks "FROM scratch\nADD a.log /\n" at (2, 2),
        "Attempting to Add file \"a.log\" that is excluded by .dockerignore";
        keeps "FROM scratch\nCOPY . a.txt /\n";
    invalid_definition_description: "InvalidDefinitionDescription" "invalid-definition-description"
        breaks "# check=experimental=InvalidDefinitionDescription\n# words\nFROM scratch AS a\n" at (3, 3),
        "Comment for FROM should follow the format: `# a <description>`";
        keeps "# check=experimental=all\n# a has words\nFROM scratch AS a\n# words\n#\nARG A\n# words\nENV C=d\n";
    expose_proto_casing: "ExposeProtoCasing" "expose-proto-casing"
        breaks "FROM scratch\nEXPOSE 80/TCP\n" at (2, 2),
        "Defined protocol '80/TCP' in EXPOSE instruction should be lowercase";
        keeps "FROM scratch\nEXPOSE 80/tcp\n";
    expose_invalid_format: "ExposeInvalidFormat" "expose-invalid-format"
        breaks "FROM scratch\nEXPOSE 127.0.0.1:8080:80\n" at (2, 2),
        "EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:8080:80'";
        keeps "FROM scratch\nEXPOSE 80-81\n";
}

/// No rule is here twice or missing.
#[test]
fn every_rule_has_a_test() {
    let (mut tested, mut all) = (TESTED.to_vec(), Rule::NAMES.to_vec());
    tested.sort_unstable();
    all.sort_unstable();
    assert_eq!(tested, all);
}

/// What counts is in the file, above an instruction, or in the client's argument, which replaces
/// what the file says.
#[tokio::test]
async fn rules_are_turned_off_and_on() {
    const BOTH: &str = "FROM scratch\nENV A b\nMAINTAINER me\n";
    const ARG: &str = "build-arg:BUILDKIT_DOCKERFILE_CHECK";
    let legacy = "LegacyKeyValueFormat";
    let maintainer = "MaintainerDeprecated";
    let described = "InvalidDefinitionDescription";
    for (before, options, expected) in [
        ("", vec![], vec![maintainer, legacy]),
        (
            "# check=skip=LegacyKeyValueFormat\n",
            vec![],
            vec![maintainer],
        ),
        (
            "# check=skip=LegacyKeyValueFormat,MaintainerDeprecated\n",
            vec![],
            vec![],
        ),
        ("# check=skip=all\n", vec![], vec![]),
        (
            "# check=skip=LegacyKeyValueFormat;error=false\n",
            vec![],
            vec![maintainer],
        ),
        (
            "# words\n# check=skip=all\n",
            vec![],
            vec![maintainer, legacy],
        ),
        (
            "# check=skip=all\n",
            vec![(ARG, "")],
            vec![maintainer, legacy],
        ),
        ("", vec![(ARG, "skip=MaintainerDeprecated")], vec![legacy]),
        (
            "# escape=`\n# check=experimental=all\n# a\n",
            vec![],
            vec![maintainer, legacy],
        ),
        (
            "# check=experimental=all\n# a\nARG B\n",
            vec![],
            vec![described, maintainer, legacy],
        ),
        (
            "# check=experimental=all;skip=all\n# a\nARG B\n",
            vec![],
            vec![described],
        ),
        ("# a\nARG B\n", vec![], vec![maintainer, legacy]),
    ] {
        let found = broken(&format!("{before}{BOTH}"), &options).await;
        assert_eq!(found, expected, "{before}{options:?}");
    }
}

/// Row DFL-01: `# check=skip=..` above an instruction is for that one only.
#[tokio::test]
async fn a_comment_turns_rules_off_for_its_instruction() {
    for (comment, lines) in [
        ("# check=skip=LegacyKeyValueFormat", vec![4]),
        ("# check=skip=all", vec![4]),
        (
            "# check=skip=LegacyKeyValueFormat because of the old parser",
            vec![4],
        ),
        ("# check=skip=Other", vec![3, 4]),
        ("# check=nonsense", vec![3, 4]),
        ("# check=skip=all\n", vec![5]),
        ("# check=skip=all\n#", vec![4, 5]),
    ] {
        let file = format!("FROM scratch\n{comment}\nENV A b\nENV C d\n");
        let found = lint(&file, &[]).await;
        let found: Vec<u64> = found.iter().map(|(.., (line, _))| *line).collect();
        assert_eq!(found, lines, "{comment}");
    }
}

/// Broken rules fail the build in BuildKit's words, without lines.
#[tokio::test]
async fn broken_rules_can_be_errors() {
    const ARG: &str = "build-arg:BUILDKIT_DOCKERFILE_CHECK";
    for (file, options, rules) in [
        (
            "# check=error=true\nFROM scratch\nENV A b\n",
            vec![],
            "LegacyKeyValueFormat",
        ),
        (
            "# check=error=true\nFROM scratch\nMAINTAINER m\nENV A b\nENV C d\n",
            vec![],
            "LegacyKeyValueFormat, MaintainerDeprecated",
        ),
        (
            "FROM scratch\nENV A b\n",
            vec![(ARG, "error=true")],
            "LegacyKeyValueFormat",
        ),
        (
            "# check=error=true;skip=LegacyKeyValueFormat\nFROM scratch\nENV A b\nMAINTAINER m\n",
            vec![],
            "MaintainerDeprecated",
        ),
    ] {
        let error = build(bridge(file, &options)).await.err().expect(file);
        let expected = format!("lint violation found for rules: {rules}");
        assert_eq!(
            (error.message, error.sources.len()),
            (expected, 0),
            "{file}"
        );
    }
    for (file, options) in [
        ("# check=error=true\nFROM scratch\nENV A=b\n", vec![]),
        (
            "# check=error=true;skip=all\nFROM scratch\nENV A b\n",
            vec![],
        ),
        (
            "# check=error=true\nFROM scratch\nENV A b\n",
            vec![(ARG, "error=false")],
        ),
        ("FROM scratch\n# check=error=true\nENV A b\n", vec![]),
    ] {
        let built = build(bridge(file, &options)).await;
        assert!(built.is_ok(), "{file}: {:?}", built.err());
    }
}

/// The whole context is left out by patterns that stand for all names, not by several that happen to
/// leave some out; other sources are paths in it, with or without a slash in front.
#[tokio::test]
async fn sources_are_compared_with_the_ignore_file() {
    for (patterns, source, is_ignored) in [
        ("*", ".", true),
        ("**", "/", true),
        ("**/*", ".", true),
        ("a*\n.a*\n", ".", false),
        ("dir", ".", false),
        ("*\n!x\n", ".", false),
        ("a.log\n", "/a.log", true),
    ] {
        let mut bridge = bridge(
            &format!("FROM scratch\nCOPY {source} /\n"),
            &[("requestid", "frontend.lint")],
        );
        bridge.add("context", ".dockerignore", patterns.as_bytes());
        let json = ask(&build(bridge).await.expect("answered"));
        assert_eq!(
            json["warnings"].is_array(),
            is_ignored,
            "{patterns:?} {source}"
        );
    }
}

/// An instruction of many lines may break a rule on each of them, and all are told with all lines.
#[tokio::test]
async fn findings_are_bounded() {
    let names: Vec<String> = (0..3000).map(|n| format!("TOKEN_{n}")).collect();
    let file = format!("FROM scratch\nARG {}\n", names.join(" \\\n    "));
    let bridge = RecordingBridge::of(&file, &[("requestid", "frontend.lint")]);
    let answer = DockerfileFrontend.build(Arc::new(bridge)).await;
    let json = &answer.expect("an answer").metadata["result.json"];
    assert!(json.len() < 32 << 20, "{} bytes", json.len());
}
