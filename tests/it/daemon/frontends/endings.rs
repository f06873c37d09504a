//! How a frontend's end becomes the build's (rows GW-30, GW-34, GW-36, ERR-06, ERR-10).

use super::everything::detail;
use super::for_every_user;
use super::prepare;
use super::root_fixture;
use crate::leftovers::processes_with;
use crate::waiting::wait_until;

#[test]
fn every_ending_has_its_error() {
    for_every_user(|fixture| {
        for (mode, message, exit_code) in [
            ("silent", "no result for incomplete build", None),
            ("crash", "exit code: 3: out of ideas", Some(3)),
            ("late-crash", "exit code: 4", Some(4)),
            ("close", "frontend grpc server closed unexpectedly", None),
            ("nonsense", "unknown mode \"nonsense\"", None),
        ] {
            let built = fixture.by_gateway("fe", &[("build-arg:MODE", mode)]);
            let failure = built.expect_err(mode);
            assert!(failure.message.ends_with(message), "{mode}: {failure:?}");
            assert_eq!(failure.exit_code, exit_code, "{mode}: {failure:?}");
            let frontend = detail(&failure, "errdefs.Frontend");
            assert_eq!(frontend["source"], fixture.image("fe"), "{mode}");
        }
    });
}

#[test]
fn errors_keep_their_details() {
    let fixture = root_fixture!();
    for mode in ["error", "nested"] {
        let built = fixture.by_gateway("fe", &[("build-arg:MODE", mode)]);
        let failure = built.expect_err(mode);
        assert!(failure.message.ends_with("not on a Sunday"), "{failure:?}");
        assert_eq!(failure.code, 9, "{mode}");
        assert_eq!(failure.sources.len(), 1, "{mode}: {failure:?}");
        assert_eq!(failure.sources[0].0.filename, "Recipe", "{mode}");
        let own = ("example.com/of.its.own".to_owned(), b"as it was".to_vec());
        assert!(failure.details.contains(&own), "{mode}: {failure:?}");
    }
    let args = ["--build-arg", "MODE=error"];
    let built = fixture.by_syntax_line("fe", &args);
    built.fails_with(&["Recipe:1", ">>> FROM nothing", "not on a Sunday"]);
}

#[test]
fn errors_of_steps_come_through() {
    let fixture = root_fixture!();
    let failure = fixture.by_gateway("fe", &[("build-arg:MODE", "step")]);
    let failure = failure.expect_err("a step fails");
    assert_eq!(failure.exit_code, Some(7), "{failure:?}");
    assert!(failure.vertex.is_some(), "{failure:?}");
    let args = ["--build-arg", "MODE=step"];
    let built = fixture.by_syntax_line("fe", &args);
    built.fails_with(&["before", "exit code: 7"]);
}

#[test]
fn steps_of_a_killed_frontend_end() {
    for_every_user(|fixture| {
        let seconds = format!("{}", 200_000 + std::process::id());
        let options = [("build-arg:MODE", "die"), ("build-arg:SECONDS", &seconds)];
        let failure = fixture.by_gateway("fe", &options).expect_err("it died");
        // By which signal is between it and its kernel: it is process 1 where it runs.
        assert!(failure.exit_code > Some(128), "{failure:?}");
        wait_until("its steps end", || processes_with(&seconds).is_empty());
        fixture.by_gateway("fe", &[]).expect("the daemon goes on");
    });
}

#[test]
fn stopping_the_daemon_ends_the_frontend() {
    let mut fixture = root_fixture!();
    prepare(&fixture.daemon.lamina, &fixture.image("fe"));
    let marker = format!("build-arg:EXTRA=stop-{}", std::process::id());
    let runs = || {
        let option = |n| processes_with(&format!("BUILDKIT_FRONTEND_OPT_{n}={marker}"));
        (0..20).any(|n| !option(n).is_empty())
    };
    let extra = &marker["build-arg:".len()..];
    let args = ["--build-arg", extra, "--build-arg", "MODE=close", "ctx"];
    let mut client = fixture
        .daemon
        .buildx_command(&[&["build"], &args[..]].concat());
    let mut client = client.spawn().expect("buildx starts");
    wait_until("the frontend runs", runs);
    fixture.daemon.stop();
    assert!(!runs(), "the frontend goes on");
    assert!(!client.wait().expect("a status").success());
}
