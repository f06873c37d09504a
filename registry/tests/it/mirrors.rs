//! Mirrors and settings of hosts (row SRC-07).

use lamina_registry::HostConfig;
use lamina_registry::RegistryClient;

use crate::server::Reply;
use crate::server::Server;
use crate::support::OCI_MANIFEST;
use crate::support::Setup;
use crate::support::blob;
use crate::support::host_config;
use crate::support::manifest;

fn serving() -> Server {
    Server::start(|call| {
        if call.target.contains("/manifests/") {
            return Reply::new(200, manifest()).header("content-type", OCI_MANIFEST);
        }
        match call.method.as_str() {
            "POST" => Reply::new(202, "").header("location", "/upload"),
            "PUT" => Reply::new(201, ""),
            "HEAD" => Reply::new(404, ""),
            _ => Reply::new(200, "data"),
        }
    })
}

fn mirrored(mirrors: &[&Server]) -> HostConfig {
    HostConfig {
        mirrors: mirrors
            .iter()
            .map(|mirror| format!("http://{}/cache", mirror.host()))
            .collect(),
        ..HostConfig::default()
    }
}

#[test]
fn the_first_mirror_that_answers_is_used() {
    let (broken, good, never) = (Server::start(|_| Reply::new(404, "")), serving(), serving());
    let config = host_config("registry.invalid", mirrored(&[&broken, &good, &never]));
    let setup = Setup::with(config, "{}");
    setup.resolve("registry.invalid/a/b:c").expect("resolved");
    setup
        .fetch("registry.invalid/a/b:c", &blob(b"data"))
        .expect("fetched");
    let digest = blob(b"data").digest;
    let wanted = [
        "GET /v2/cache/a/b/manifests/c?ns=registry.invalid".to_owned(),
        format!("GET /v2/cache/a/b/blobs/{digest}?ns=registry.invalid"),
    ];
    assert_eq!(broken.targets(), wanted);
    assert_eq!(good.targets(), wanted);
    assert!(never.targets().is_empty());
}

#[test]
fn the_registry_itself_is_the_last_resort_and_its_error_counts() {
    let (broken, origin) = (Server::start(|_| Reply::new(500, "")), serving());
    let setup = Setup::with(host_config(&origin.host(), mirrored(&[&broken])), "{}");
    setup
        .resolve(&format!("{}/a/b:c", origin.host()))
        .expect("resolved");
    assert_eq!(origin.targets(), ["GET /v2/a/b/manifests/c"]);

    let origin = Server::start(|_| Reply::new(404, "gone"));
    let setup = Setup::with(host_config(&origin.host(), mirrored(&[&broken])), "{}");
    let error = setup
        .resolve(&format!("{}/a/b:c", origin.host()))
        .expect_err("missing");
    assert!(error.is_not_found(), "{error}");
}

#[test]
fn a_mirror_without_the_image_tells_more_than_a_registry_out_of_reach() {
    let empty = Server::start(|_| Reply::new(404, ""));
    let setup = Setup::with(host_config("registry.invalid", mirrored(&[&empty])), "{}");
    let error = setup.resolve("registry.invalid/a/b:c");
    let error = error.expect_err("missing");
    assert!(error.is_not_found(), "{error}");
}

#[test]
fn a_corrupt_mirror_is_passed_over() {
    let (lying, origin) = (Server::start(|_| Reply::new(200, "liar")), serving());
    let setup = Setup::with(host_config(&origin.host(), mirrored(&[&lying])), "{}");
    setup
        .fetch(&format!("{}/a/b:c", origin.host()), &blob(b"data"))
        .expect("fetched");
    assert_eq!(lying.calls().len(), 1);
}

#[test]
fn mirrors_are_never_written_to() {
    let (mirror, origin) = (serving(), serving());
    let setup = Setup::with(host_config(&origin.host(), mirrored(&[&mirror])), "{}");
    setup.store.put(b"data").expect("stored");
    setup
        .push(&format!("{}/a/b:c", origin.host()), &blob(b"data"))
        .expect("pushed");
    assert!(mirror.targets().is_empty());
    assert_eq!(origin.targets().len(), 3);
}

#[test]
fn contradictions_and_missing_files_are_reported() {
    let contradiction = HostConfig {
        http: true,
        ca: vec!["ca.pem".into()],
        ..HostConfig::default()
    };
    let error = RegistryClient::new(host_config("h.test", contradiction)).err();
    let error = error.expect("refused").to_string();
    assert!(
        error.starts_with("configuration of registry h.test"),
        "{error}"
    );

    let missing = HostConfig {
        ca: vec!["/no/such/ca.pem".into()],
        ..HostConfig::default()
    };
    let setup = Setup::with(host_config("h.invalid", missing), "{}");
    let error = setup.resolve("h.invalid/a").expect_err("missing");
    assert!(error.to_string().contains("/no/such/ca.pem"), "{error}");
}
