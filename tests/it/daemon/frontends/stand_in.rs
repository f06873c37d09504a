//! The built-in frontend in place of the published one (`# syntax=docker/dockerfile:1`).

use std::net::TcpListener;
use std::time::Duration;
use std::time::Instant;

use super::Fixture;
use super::root_fixture;
use crate::harness::Finished;

/// An image that nobody has.
const NOWHERE: &str = "docker/dockerfile:0.0.0-nowhere";

/// An image that nobody can have: its digest is that of nothing.
const PINNED: &str =
    "docker/dockerfile:1@sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// What the user is told.
const NOTE: &str = "cannot be had, the built-in frontend is used instead";

/// All that buildx prints of a warning if the step that it is about had ended a while before.
const COUNTED: &str = "1 warning found";

impl Fixture {
    /// Checks that the note reached the client of the last build, and that it is in the build's record.
    #[track_caller]
    fn expect_note(&self, built: &Finished) {
        let reached = [NOTE, COUNTED];
        let reached = reached.iter().any(|part| built.stderr.contains(part));
        assert!(reached, "{}", built.stderr);
        let record = self.daemon.run(&["history", "logs"]).ok();
        assert!(record.stderr.contains(NOTE), "{}", record.stderr);
    }

    /// Starts the daemon anew with a mirror of Docker Hub.
    fn mirror(&mut self, address: &str) {
        self.daemon.stop();
        let config = format!("[registry.\"docker.io\"]\nmirrors = [\"{address}\"]\n");
        let config = self.daemon.lamina.write("mirror.toml", config);
        let config = config.display().to_string();
        self.daemon.launch(&["--config", &config]);
    }
}

#[test]
fn the_published_frontend_is_used_where_it_can_be_had() {
    let mut fixture = root_fixture!();
    fixture.push("docker/dockerfile", &fixture.recipe());
    let address = fixture.registry.host.clone();
    fixture.mirror(&address);
    let built = fixture.with_syntax("docker/dockerfile:1", &["-o", "out"]);
    assert!(!built.ok().stderr.contains(NOTE));
    assert!(fixture.report().contains("product: lamina"));
}

#[test]
fn the_built_in_one_builds_where_it_cannot() {
    let mut fixture = root_fixture!();
    // Takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    fixture.mirror(&address);
    for syntax in [
        "docker/dockerfile:1",
        NOWHERE,
        "docker/dockerfile-upstream:master",
    ] {
        let begin = Instant::now();
        let built = fixture
            .with_syntax(syntax, &["--no-cache", "-o", "out"])
            .ok();
        fixture.expect_note(&built);
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{:?}",
            begin.elapsed()
        );
        assert_eq!(fixture.daemon.lamina.read("out/plain"), "some words\n");
    }
    // The same by the build argument, where buildx itself asks for the gateway.
    let argument = "BUILDKIT_SYNTAX=docker/dockerfile:1";
    let built = fixture.with_syntax("nobody/has:1", &["--build-arg", argument]);
    fixture.expect_note(&built.ok());
}

#[test]
fn a_registry_without_it_is_as_good_as_none() {
    let mut fixture = root_fixture!();
    let address = fixture.registry.host.clone();
    fixture.mirror(&address);
    let built = fixture.with_syntax(NOWHERE, &["-o", "out"]).ok();
    fixture.expect_note(&built);
    assert_eq!(fixture.daemon.lamina.read("out/plain"), "some words\n");
}

#[test]
fn a_pinned_image_has_no_stand_in() {
    let mut fixture = root_fixture!();
    let address = fixture.registry.host.clone();
    fixture.mirror(&address);
    let refused = fixture.with_syntax(PINNED, &[]);
    refused.fails_with(&["Dockerfile:1", "docker/dockerfile:1@sha256:0000"]);
}

#[test]
fn other_images_have_no_stand_in() {
    let fixture = root_fixture!();
    let missing = fixture.image("docker/dockerfile");
    let built = fixture.with_syntax(&missing, &[]);
    built.fails_with(&["Dockerfile:1", "docker/dockerfile:1"]);
}
