//! `lamina build --call` and `--check`: questions about a Dockerfile (rows FDF-27 to FDF-30).

use serde_json::Value;

use crate::harness::Daemon;
use crate::harness::Finished;
use crate::harness::skip_unless_root;

const DOCKERFILE: &str = "# check=skip=MaintainerDeprecated
ARG VERSION=1
# test runs them
FROM scratch AS test
MAINTAINER me
# WORD what is said
ARG WORD=hello
ENV A b
RUN --mount=type=secret,id=token,required --mount=type=ssh x
FROM scratch
";

/// Runs the command by the daemon, and by itself.
fn both(daemon: &Daemon, args: &[&str], check: impl Fn(Finished)) {
    let mut all = vec!["build"];
    all.extend_from_slice(args);
    check(daemon.run(&all));
    check(daemon.run_without_daemon(&all));
}

#[test]
fn broken_rules_are_shown_with_their_lines() {
    skip_unless_root!();
    let daemon = Daemon::start(&[]);
    daemon.write("ctx/Dockerfile", DOCKERFILE);
    let page = "https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/";
    let expected = format!(
        "Check complete, 1 warning has been found!\n\nWARNING: LegacyKeyValueFormat - {page}\n\
         \"ENV key=value\" should be used instead of legacy \"ENV key value\" format\n\
         ctx/Dockerfile:8\n--------------------\n   5 |     MAINTAINER me\n   \
         6 |     # WORD what is said\n   7 |     ARG WORD=hello\n   8 | >>> ENV A b\n   \
         9 |     RUN --mount=type=secret,id=token,required --mount=type=ssh x\n  \
         10 |     FROM scratch\n--------------------\n"
    );
    both(&daemon, &["--check", "ctx"], |found| {
        assert_eq!(found.code, Some(1), "{}", found.stderr);
        assert_eq!(found.stdout, expected, "{}", found.stderr);
    });
    let ignored = ["--call=check,format=json,ignorestatus=true", "ctx"];
    both(&daemon, &ignored, |found| {
        let json = found.ok().json();
        assert_eq!(json["warnings"][0]["ruleName"], "LegacyKeyValueFormat");
        assert_eq!(json["sources"][0]["filename"], "Dockerfile");
    });
    // The stage that breaks the rule is not needed for this one.
    daemon.write(
        "ctx/Dockerfile",
        &DOCKERFILE.replace("FROM scratch\n", "FROM scratch AS last\n"),
    );
    both(&daemon, &["--check", "--target=last", "ctx"], |found| {
        assert_eq!(found.ok().stdout, "Check complete, no warnings found.\n");
    });
}

#[test]
fn what_a_build_would_fail_with_is_shown_too() {
    skip_unless_root!();
    let daemon = Daemon::start(&[]);
    daemon.write("ctx/Dockerfile", "FROM scratch\nRUN --mount=tpe=cache x\n");
    both(&daemon, &["--check", "ctx"], |found| {
        assert_eq!(found.code, Some(1));
        assert_eq!(found.stdout, "");
        for part in [
            "ctx/Dockerfile:2\n",
            ">>> RUN --mount=tpe=cache x\n",
            "ERROR: failed to solve: unexpected key 'tpe' in 'tpe=cache' (did you mean type?)\n",
        ] {
            assert!(found.stderr.contains(part), "{part}: {}", found.stderr);
        }
    });
}

#[test]
fn parameters_and_stages_are_listed() {
    skip_unless_root!();
    let daemon = Daemon::start(&[]);
    daemon.write("ctx/Dockerfile", DOCKERFILE);
    let outline = "TARGET:      test\nDESCRIPTION: runs them\n\n\
                   BUILD ARG   VALUE   DESCRIPTION\nWORD        hi      what is said\n\n\
                   SECRET   REQUIRED\ntoken    true\n\nSSH       REQUIRED\ndefault   \n\n";
    let targets = "TARGET    DESCRIPTION\ntest      runs them\n(default) \n";
    let outlined = [
        "--call=outline",
        "--target=test",
        "--build-arg=WORD=hi",
        "ctx",
    ];
    both(&daemon, &outlined, |found| {
        assert_eq!(found.ok().stdout, outline)
    });
    both(&daemon, &["--call", "targets", "ctx"], |found| {
        assert_eq!(found.ok().stdout, targets)
    });
    both(&daemon, &["--call=targets,format=json", "ctx"], |found| {
        let json = found.ok().json();
        assert_eq!(json["targets"][1]["default"], Value::Bool(true), "{json}");
    });
    both(&daemon, &["--call=describe", "ctx"], |found| {
        let stdout = found.ok().stdout;
        assert!(
            stdout.starts_with("NAME                 VERSION DESCRIPTION\n"),
            "{stdout}"
        );
    });
}

/// Row ERR-08; a call has no result, so nothing is written.
#[test]
fn other_questions_and_results_come_to_nothing() {
    skip_unless_root!();
    let daemon = Daemon::start(&[]);
    daemon.write("ctx/Dockerfile", DOCKERFILE);
    both(&daemon, &["--call=chek", "ctx"], |found| {
        assert_eq!(found.code, Some(1));
        for part in [
            "unsupported request frontend.chek",
            "hint: --call takes check",
        ] {
            assert!(found.stderr.contains(part), "{part}: {}", found.stderr);
        }
    });
    both(&daemon, &["--call=targets", "-o", "out", "ctx"], |found| {
        assert!(!found.ok().stderr.contains("WARNING"));
        assert!(!daemon.path("out").exists());
    });
}

/// Row DFL-12: `# check=error=true` makes the build itself fail.
#[test]
fn broken_rules_can_fail_builds() {
    skip_unless_root!();
    let daemon = Daemon::start(&[]);
    daemon.write(
        "ctx/Dockerfile",
        "# check=error=true\nFROM scratch\nENV A b\n",
    );
    both(&daemon, &["-o", "out", "ctx"], |found| {
        assert_eq!(found.code, Some(1));
        let expected =
            "ERROR: failed to solve: lint violation found for rules: LegacyKeyValueFormat\n";
        assert!(found.stderr.contains(expected), "{}", found.stderr);
    });
}
