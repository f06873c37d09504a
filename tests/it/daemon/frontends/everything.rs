//! What a frontend is given and may ask for.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use lamina_client::llb::State;
use lamina_session::LocalSession;

use super::for_every_user;
use super::prepare;
use super::root_fixture;
use super::tree;
use crate::harness::Lamina;

/// What the frontend writes down, with the names of its inputs and the value of `EXTRA`.
fn expected(inputs: &str, extra: &str) -> String {
    format!(
        "session: true\nproduct: lamina\nworker: linux\ndefinition: true\nwritable: true\n\
         extra: {extra}\ninputs: {inputs}\ncontext: some words\nimage: [\"/fe\"]\nsecret: 5\n"
    )
}

/// Rows FGW-02, FGW-07 to FGW-12, FDF-34, GW-01, GW-15, GW-20, GW-24 to GW-29, GW-35.
#[test]
fn a_syntax_line_hands_the_build_over() {
    for_every_user(|fixture| {
        let args = ["--build-arg", "EXTRA=a=b c", "-o", "out"];
        let built = fixture.by_syntax_line("fe", &args).ok();
        assert_eq!(fixture.report(), expected("", "a=b c"));
        let doubts = "the frontend has doubts";
        assert!(built.stderr.contains(doubts), "{}", built.stderr);
    });
}

#[test]
fn the_gateway_runs_it_with_inputs() {
    for_every_user(|fixture| {
        let built = fixture.by_gateway_with("fe", &[], |request| {
            let words = State::scratch().mkfile("/words.txt", 0o644, "some words");
            let context = ("context".to_owned(), words.definition());
            let other = ("other".to_owned(), State::scratch().definition());
            request.inputs = [context, other].into();
        });
        built.expect("built");
        assert_eq!(fixture.report(), expected("context other", ""));
    });
}

#[test]
fn the_command_alone_runs_it_too() {
    for_every_user(|fixture| {
        let lamina = Lamina::new(fixture.user);
        prepare(&lamina, &fixture.image("fe"));
        let image = format!("IMAGE={}", fixture.image("fe"));
        let args = ["build", "--build-arg", &image, "--secret"];
        let rest = ["id=token,src=token", "-o", "out", "ctx"];
        let built = lamina.run(&[&args[..], &rest[..]].concat()).ok();
        assert_eq!(lamina.read("out/report"), expected("", ""));
        let doubts = "the frontend has doubts";
        assert!(built.stderr.contains(doubts), "{}", built.stderr);
        lamina.assert_clean();
    });
}

/// Row FGW-05.
#[test]
fn named_contexts_replace_it() {
    let fixture = root_fixture!();
    let image = format!("nobody/has:1=docker-image://{}", fixture.image("fe"));
    let args = [
        "--build-context",
        &image,
        "--build-arg",
        "EXTRA=x",
        "-o",
        "out",
    ];
    fixture.with_syntax("nobody/has:1", &args).ok();
    assert_eq!(fixture.report(), expected("", "x"));

    // Without an image nothing says what the program can.
    let folder = format!("nobody/has:1={}", tree().display());
    let built = fixture.with_syntax("nobody/has:1", &["--build-context", &folder]);
    built.fails_with(&["current frontend does not support --build-context"]);
}

/// Rows FGW-05, FGW-07: a folder has no entrypoint, so the program is `/run`.
#[test]
fn a_folder_of_the_client_is_a_frontend() {
    let fixture = root_fixture!();
    let dir = fixture.daemon.lamina.dir();
    let folder = dir.join("program");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(tree())
        .arg(&folder)
        .status();
    assert!(copied.expect("cp runs").success());
    fs::rename(folder.join("fe"), folder.join("run")).expect("renamed");
    let options = [
        ("source", "nobody/has:1"),
        ("context:nobody/has:1", "local:program"),
        ("build-arg:MODE", "network"),
    ];
    let built = fixture.by_gateway_with("fe", &options, |request| {
        let session = LocalSession::builder()
            .local_dir("program", folder)
            .directory_target(0, dir.join("out"));
        request.session = Arc::new(session.build());
    });
    built.expect("a program in a folder");
    assert_eq!(fixture.report(), "reached: false\n");
}

/// Rows FGW-03, FCAP-01, FCAP-05, FCAP-06, ERR-07, ERR-10.
#[test]
fn missing_capabilities_are_named() {
    let fixture = root_fixture!();
    fixture.push(
        "old",
        &format!(
            "FROM {}\nLABEL moby.buildkit.frontend.caps=\n",
            fixture.image("fe")
        ),
    );
    let inputs = "moby.buildkit.frontend.inputs";
    for (image, asked, missing) in [
        ("fe", "moby.buildkit.frontend.contexts+forward", None),
        ("fe", "no.such.cap", Some("no.such.cap")),
        ("old", inputs, Some(inputs)),
    ] {
        let built = fixture.by_gateway(image, &[("frontend.caps", asked)]);
        let Some(missing) = missing else {
            built.expect("built");
            continue;
        };
        let failure = built.expect_err("refused");
        assert_eq!(failure.code, 12, "{failure:?}");
        let text = format!("unsupported frontend capability {missing}");
        assert!(failure.message.ends_with(&text), "{failure:?}");
        assert_eq!(detail(&failure, "errdefs.FrontendCap")["name"], missing);
        let frontend = detail(&failure, "errdefs.Frontend");
        assert_eq!(frontend["name"], "gateway.v0");
        assert_eq!(frontend["source"], fixture.image(image));
    }
    let failure = fixture.by_gateway_with("old", &[], |request| {
        let words = State::scratch().mkfile("/words.txt", 0o644, "");
        request.inputs = [("context".to_owned(), words.definition())].into();
    });
    let failure = failure.expect_err("inputs need a capability");
    assert_eq!(detail(&failure, "errdefs.FrontendCap")["name"], inputs);
}

/// Row FGW-10.
#[test]
fn the_network_is_there_unless_the_image_wants_none() {
    for_every_user(|fixture| {
        let label = "LABEL moby.buildkit.frontend.network.none=true";
        fixture.push("alone", &format!("FROM {}\n{label}\n", fixture.image("fe")));
        let peer = fixture.registry.host.as_str();
        let options = [("build-arg:MODE", "network"), ("build-arg:PEER", peer)];
        for (image, report) in [("fe", "reached: true\n"), ("alone", "reached: false\n")] {
            fixture.by_gateway(image, &options).expect("built");
            assert_eq!(fixture.report(), report, "{image}");
        }
    });
}

/// Returns the detail of that kind, read as JSON.
pub(super) fn detail(failure: &lamina_client::Failure, kind: &str) -> serde_json::Value {
    let url = format!("github.com/moby/buildkit/{kind}+json");
    let found = failure.details.iter().find(|(name, _)| *name == url);
    let (_, value) = found.unwrap_or_else(|| panic!("no {kind} in {failure:?}"));
    serde_json::from_slice(value).expect("JSON")
}
