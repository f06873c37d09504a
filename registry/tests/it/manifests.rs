//! What registries may answer when they are asked for a manifest (row SRC-02).

use lamina_registry::MAX_MANIFEST_BYTES;
use lamina_registry::ManifestKind;
use lamina_types::Digest;

use crate::server::Reply;
use crate::server::Server;
use crate::support::OCI_MANIFEST;
use crate::support::Setup;
use crate::support::manifest;

const INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

#[test]
fn kinds_come_from_the_document_the_header_or_the_shape() {
    let by_itself = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]}}"#);
    for (name, header, body, kind) in [
        (
            "document",
            "text/plain",
            by_itself.as_str(),
            ManifestKind::Index,
        ),
        (
            "header",
            INDEX,
            r#"{"schemaVersion":2}"#,
            ManifestKind::Index,
        ),
        (
            "header with parameter",
            "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
            r#"{"schemaVersion":2}"#,
            ManifestKind::Image,
        ),
        (
            "index by shape",
            "application/json",
            r#"{"schemaVersion":2,"manifests":[]}"#,
            ManifestKind::Index,
        ),
        (
            "image by shape",
            "",
            r#"{"schemaVersion":2,"config":{},"layers":[]}"#,
            ManifestKind::Image,
        ),
    ] {
        let (header, body) = (header.to_owned(), body.to_owned());
        let server =
            Server::start(move |_| Reply::new(200, body.clone()).header("content-type", &*header));
        let found = Setup::new()
            .resolve(&format!("{}/a", server.host()))
            .expect(name);
        let media_type = found.descriptor.media_type;
        assert_eq!(ManifestKind::of(&media_type), Some(kind), "{name}");
    }
}

#[test]
fn unusable_documents_are_refused() {
    let one = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let huge = "x".repeat(usize::try_from(MAX_MANIFEST_BYTES).expect("fits") + 1);
    for (name, header, body, wanted) in [
        ("schema 1", one, "{}", "schema 1 are not supported"),
        (
            "schema 1 by shape",
            "",
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
            "schema 1 are not supported",
        ),
        ("huge", OCI_MANIFEST, &huge, "larger than 4194304 bytes"),
        ("no json", OCI_MANIFEST, "<html>", "malformed manifest"),
        (
            "other type",
            "application/vnd.test",
            r#"{"schemaVersion":2}"#,
            "unsupported media type \"application/vnd.test\"",
        ),
        ("empty", OCI_MANIFEST, "", "malformed manifest"),
    ] {
        let (header, body) = (header.to_owned(), body.to_owned());
        let server =
            Server::start(move |_| Reply::new(200, body.clone()).header("content-type", &*header));
        let reference = format!("{}/a:latest", server.host());
        let error = Setup::new().resolve(&reference).expect_err(name);
        assert!(error.to_string().contains(wanted), "{name}: {error}");
        assert!(error.to_string().starts_with(&reference), "{name}: {error}");
    }
}

#[test]
fn pinned_digests_are_checked() {
    let server =
        Server::start(|_| Reply::new(200, manifest()).header("content-type", OCI_MANIFEST));
    let setup = Setup::new();
    let right = Digest::of(&manifest());
    let pinned = format!("{}/a@{right}", server.host());
    setup.resolve(&pinned).expect("the right one");
    let other = Digest::of(b"other");
    let pinned = format!("{}/a@{other}", server.host());
    let error = setup.resolve(&pinned).expect_err("another one");
    assert!(
        error.to_string().ends_with(&format!(
            "sent content with digest {right} instead of {other}"
        )),
        "{error}"
    );
}

#[test]
fn a_registry_that_contradicts_itself_is_refused() {
    let other = Digest::of(b"other").to_string();
    let server = Server::start(move |_| {
        Reply::new(200, manifest())
            .header("content-type", OCI_MANIFEST)
            .header("docker-content-digest", &*other)
    });
    let error = Setup::new()
        .resolve(&format!("{}/a", server.host()))
        .expect_err("contradiction");
    assert!(error.to_string().contains("instead of"), "{error}");
}

#[test]
fn a_registry_that_stores_something_else_is_noticed() {
    let other = Digest::of(b"other").to_string();
    let server =
        Server::start(move |_| Reply::new(201, "").header("docker-content-digest", &*other));
    let error = Setup::new()
        .push_manifest(&format!("{}/a", server.host()), manifest())
        .expect_err("something else");
    assert!(error.to_string().contains("instead of"), "{error}");
}
