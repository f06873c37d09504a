//! `allowedRepositories` of the gateway (row CFG-12), whatever the client says the image is.

use lamina_client::Failure;

use super::Fixture;
use super::root_fixture;

#[track_caller]
fn assert_refused(built: Result<(), Failure>, source: &str) {
    let failure = built.expect_err("is not allowed");
    let message = failure.message;
    let wanted = format!("'{source}' is not an allowed gateway source");
    assert!(message.contains(&wanted), "{message}");
}

impl Fixture {
    /// Starts the daemon anew with one repository whose images may be frontends.
    fn allow_only(&mut self, name: &str) {
        self.daemon.stop();
        let repository = format!("{}/{name}", self.registry.host);
        let config = format!("[frontend.\"gateway.v0\"]\nallowedRepositories = [{repository:?}]\n");
        let config = self.daemon.lamina.write("allowed.toml", config);
        self.daemon
            .launch(&["--config", &config.display().to_string()]);
    }
}

#[test]
fn only_images_of_allowed_repositories_are_frontends() {
    let mut fixture = root_fixture!();
    fixture.push("other", &fixture.recipe());
    fixture.allow_only("fe");
    fixture.by_gateway("fe", &[]).expect("allowed");
    let other = fixture.image("other");
    assert_refused(fixture.by_gateway("other", &[]), &other);
    let refused = fixture.by_syntax_line("other", &[]);
    refused.fails_with(&[&other, "is not an allowed gateway source"]);
    fixture.daemon.stop();
}

/// The client says that another program is the image.
#[test]
fn named_contexts_are_no_way_around() {
    let mut fixture = root_fixture!();
    fixture.push("other", &fixture.recipe());
    fixture.allow_only("fe");
    let key = format!("context:{}", fixture.image("fe"));
    let other = format!("docker-image://{}", fixture.image("other"));
    for context in [&other, "local:context", "input:x", "oci-layout://x@y"] {
        assert_refused(fixture.by_gateway("fe", &[(&key, context)]), context);
    }
    let same = format!("docker-image://{}", fixture.image("fe"));
    fixture.by_gateway("fe", &[(&key, &same)]).expect("allowed");
    fixture.daemon.stop();
}
