//! `docker buildx build --check` and `--call`: questions about a Dockerfile (rows FDF-27 to FDF-30).
//! buildx prints the answers itself, so it has to understand them; `lamina build` answers alike.

use std::path::PathBuf;

use serde_json::Value;

use super::rig::Daemon;
use super::rig::buildx;
use super::rig::newer_buildx;
use crate::harness;
use crate::harness::Finished;
use crate::harness::User;
use crate::harness::skip;

const DOCKERFILE: &str = "ARG VERSION=1
# tools has what is needed
FROM scratch AS tools
# WORD what is said
ARG WORD=hello VERSION
RUN --mount=type=secret,id=token,required --mount=type=ssh,id=key x
FROM tools AS last
ENV A b
LABEL version=$VERSON";

const OUTLINE: &str = "TARGET: last

BUILD ARG   VALUE   DESCRIPTION
VERSION     1      \x20
WORD        hi      what is said

SECRET   REQUIRED
token    true

SSH   REQUIRED
key  \x20

";

const TARGETS: &str = "TARGET         DESCRIPTION
tools          has what is needed
last (default)\x20
";

/// What is found in the file, as the answer has it.
const FINDINGS: &str = r#"
WARNING: LegacyKeyValueFormat - https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/
"ENV key=value" should be used instead of legacy "ENV key value" format
Dockerfile:8
--------------------
   6 |     RUN --mount=type=secret,id=token,required --mount=type=ssh,id=key x
   7 |     FROM tools AS last
   8 | >>> ENV A b
   9 |     LABEL version=$VERSON
--------------------

WARNING: UndefinedVar - https://docs.docker.com/go/dockerfile/rule/undefined-var/
Usage of undefined variable '$VERSON' (did you mean $VERSION?)
Dockerfile:9
--------------------
   7 |     FROM tools AS last
   8 |     ENV A b
   9 | >>> LABEL version=$VERSON
--------------------
"#;

/// A daemon, and a buildx that asks it.
struct Asked {
    daemon: Daemon,
    buildx: PathBuf,
}

impl Asked {
    fn start(user: User) -> Result<Self, String> {
        let buildx = newer_buildx()?;
        let daemon = Daemon::start(user)?;
        Ok(Self { daemon, buildx })
    }

    fn ask(&self, dockerfile: &str, args: &[&str]) -> Finished {
        self.daemon.lamina.write("ctx/Dockerfile", dockerfile);
        let all = [&["build"], args, &["ctx"]].concat();
        let output = self.daemon.buildx_command_of(&self.buildx, &all).output();
        Finished::new(output.expect("buildx starts"))
    }
}

/// Starts a daemon of root's, or leaves the test with the reason.
macro_rules! asked {
    () => {
        match Asked::start(User::Root) {
            Ok(asked) => asked,
            Err(reason) => skip!("{reason}"),
        }
    };
}

fn stdout(finished: &Finished) -> String {
    let text = String::from_utf8_lossy(&finished.stdout);
    // The client puts the place of the file there as it found it.
    text.replace("ctx/Dockerfile:", "Dockerfile:")
}

/// Returns the answer without how the file was loaded, which names the session.
fn json(finished: &Finished) -> Value {
    let mut json: Value = serde_json::from_slice(&finished.stdout)
        .unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    if let Some(source) = json.pointer_mut("/sources/0") {
        drop(
            source
                .as_object_mut()
                .map(|source| source.remove("definition")),
        );
    }
    json
}

#[test]
fn buildx_shows_broken_rules() {
    harness::for_every_user(Asked::start, |_, mut asked| {
        let expected = format!("Check complete, 2 warnings have been found!\n{FINDINGS}");
        let found = asked.ask(DOCKERFILE, &["--check"]);
        assert_eq!(found.code, Some(1), "{found:?}");
        assert_eq!(stdout(&found), expected);
        let ignored = asked.ask(DOCKERFILE, &["--call=check,ignorestatus=true"]);
        assert_eq!(stdout(&ignored.ok()), expected);
        let clean = asked.ask(DOCKERFILE, &["--check", "--target=tools"]).ok();
        assert_eq!(stdout(&clean), "Check complete, no warnings found.\n");
        asked.daemon.stop();
    });
}

#[test]
fn buildx_shows_what_a_build_would_fail_with() {
    let asked = asked!();
    let found = asked.ask("FROM scratch\nRUN --mount=tpe=cache x\n", &["--check"]);
    assert_eq!(found.code, Some(1), "{found:?}");
    found.fails_with(&[
        "unexpected key 'tpe' in 'tpe=cache' (did you mean type?)",
        ">>> RUN --mount=tpe=cache x",
    ]);
    for (dockerfile, args, message) in [
        (
            "FROM scratch\nCPOY a b\n",
            &["--call=outline"][..],
            "unknown instruction: CPOY (did you mean COPY?)",
        ),
        (
            "# check=error=true\nFROM scratch\nENV A b\n",
            &[],
            "lint violation found for rules: LegacyKeyValueFormat",
        ),
        (
            DOCKERFILE,
            &["--call=nope"],
            "unsupported request frontend.nope",
        ),
    ] {
        asked.ask(dockerfile, args).fails_with(&[message]);
    }
}

#[test]
fn buildx_shows_parameters_and_stages() {
    let asked = asked!();
    let outline = asked.ask(DOCKERFILE, &["--call=outline", "--build-arg=WORD=hi"]);
    assert_eq!(stdout(&outline.ok()), OUTLINE);
    let targets = asked.ask(DOCKERFILE, &["--call=targets"]).ok();
    assert_eq!(stdout(&targets), TARGETS);
    let described = asked.ask(DOCKERFILE, &["--call=subrequests.describe"]);
    let described = stdout(&described.ok());
    let head = "NAME                 VERSION DESCRIPTION\n";
    assert!(described.starts_with(head), "{described}");
}

/// The same Dockerfile is answered alike, whichever client asks.
#[test]
fn lamina_answers_as_buildx_shows_it() {
    let asked = asked!();
    for question in ["check", "outline", "targets", "subrequests.describe"] {
        let both = |form: &str| {
            let call = format!("--call={question},ignorestatus=true{form}");
            let theirs = asked.ask(DOCKERFILE, &[&call]).ok();
            let ours = asked.daemon.client(&["build", &call, "ctx"]).output();
            (
                theirs,
                Finished::new(ours.expect("the command starts")).ok(),
            )
        };
        let (theirs, ours) = both(",format=json");
        assert_eq!(json(&ours), json(&theirs), "{question}");
        let (theirs, ours) = both("");
        // Findings are shown as all errors of this command are, with more lines around.
        if question != "check" {
            assert_eq!(stdout(&ours), stdout(&theirs), "{question}");
        }
    }
}

/// Before `--call` there was `--print`, behind a switch; it prints what it does not know as it comes.
#[test]
fn older_clients_print_the_answers() {
    let (Ok(buildx), Ok(daemon)) = (buildx(), Daemon::start(User::Root)) else {
        skip!("docker-buildx, root or the base is missing");
    };
    daemon.lamina.write("ctx/Dockerfile", DOCKERFILE);
    for (question, expected) in [
        ("outline", OUTLINE),
        ("targets", TARGETS),
        ("lint", FINDINGS),
    ] {
        let print = format!("--print={question}");
        let args = ["build", &print, "--build-arg=WORD=hi", "ctx"];
        let mut command = daemon.buildx_command_of(&buildx, &args);
        let output = command.env("BUILDX_EXPERIMENTAL", "1").output();
        let printed = Finished::new(output.expect("buildx starts"));
        if printed.stderr.contains("unknown flag: --print") {
            skip!("this docker-buildx has no --print");
        }
        let printed = stdout(&printed);
        assert!(printed.ends_with(expected), "{question}: {printed}");
    }
}
