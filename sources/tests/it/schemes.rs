//! Identifiers (row SRC-01).

use lamina_session::LocalSession;
use lamina_sources::SourceRequest;

use crate::support::Engine;

#[test]
fn unknown_and_unsupported_schemes_are_named() {
    let engine = Engine::new(LocalSession::builder());
    for (identifier, wanted) in [
        ("nosuch://x", "unknown scheme nosuch: not found"),
        ("://x", "unknown scheme : not found"),
        ("context", "failed to parse context: expected scheme://.."),
        (
            "docker-image+blob://h.test/x",
            "docker-image+blob://h.test/x: sources of scheme docker-image+blob are not supported yet",
        ),
        (
            "oci-layout+blob://user:token@h.test/x",
            "oci-layout+blob://xxxxx:xxxxx@h.test/x: sources of scheme oci-layout+blob are not \
             supported yet",
        ),
        (
            "docker-image://Upper",
            "invalid reference format: repository name (library/Upper) must be lowercase",
        ),
        ("local://other", "no access allowed to dir \"other\""),
        ("oci-layout://x", "OCI layout \"x\": a digest is required"),
    ] {
        let error = engine
            .get(&SourceRequest::new(identifier))
            .expect_err(identifier);
        assert_eq!(error.to_string(), wanted);
    }
}

#[test]
fn a_pinned_source_survives_storage() {
    let dir = crate::support::directory(&[("a", "1")]);
    let engine = Engine::with_context(dir.path());
    let pinned = engine
        .resolve(&crate::support::context())
        .expect("resolved");
    let text = serde_json::to_string(&pinned).expect("stored");
    let again: lamina_sources::Pinned = serde_json::from_str(&text).expect("read");
    assert_eq!(again, pinned);
    assert!(!pinned.key_is_content);
    assert_eq!(
        crate::support::paths(&engine.snapshot(&again).expect("made")),
        ["a"]
    );
}
