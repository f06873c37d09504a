//! Mirrors and settings of hosts (row SRC-07).

use std::net::TcpListener;
use std::time::Duration;

use lamina_registry::HostConfig;
use lamina_registry::Patience;
use lamina_registry::RegistryClient;
use lamina_registry::RegistryConfig;

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

/// As `host_config`, with mirrors that are given up soon and a registry that is not.
fn impatient(host: &str, settings: HostConfig) -> RegistryConfig {
    let patience = Patience {
        mirror: Duration::from_millis(300),
        ..Patience::default()
    };
    RegistryConfig {
        patience,
        ..host_config(host, settings)
    }
}

/// A mirror that falls silent after so many bytes; the head of its answers is smaller than 1,000.
fn silent(bytes: usize) -> Server {
    Server::start(move |_| Reply {
        silent_after: Some(bytes),
        ..Reply::new(200, vec![b' '; 2000])
    })
}

/// A mirror that takes a connection and says nothing is asked once, and then after all others.
#[test]
fn a_silent_mirror_is_given_up_and_then_asked_last() {
    for bytes in [0, 5, 1000] {
        let (silent, origin) = (silent(bytes), serving());
        let config = impatient(&origin.host(), mirrored(&[&silent]));
        let setup = Setup::with(config, "{}");
        let name = format!("{}/a/b:c", origin.host());
        setup.resolve(&name).expect("the registry answers");
        setup.fetch(&name, &blob(b"data")).expect("fetched");
        assert_eq!(silent.targets().len(), 1, "{bytes}");
        assert_eq!(origin.targets().len(), 2, "{bytes}");
    }
}

#[test]
fn a_mirror_that_falls_silent_in_a_blob_is_not_asked_for_the_rest() {
    let data = [b' '; 2000];
    let silent = silent(1000);
    let origin = Server::start(move |_| Reply::new(200, data));
    let config = impatient(&origin.host(), mirrored(&[&silent]));
    let setup = Setup::with(config, "{}");
    let name = format!("{}/a/b:c", origin.host());
    setup.fetch(&name, &blob(&data)).expect("fetched");
    assert_eq!(silent.targets().len(), 1);
}

/// Where there is no way to the registry, a mirror that is silent at times is all there is; what the
/// registry says counts all the same.
#[test]
fn a_silent_mirror_is_still_asked() {
    let silent = silent(0);
    let origin = Server::start(|_| Reply::new(404, "gone"));
    let config = impatient(&origin.host(), mirrored(&[&silent]));
    let setup = Setup::with(config, "{}");
    for asked in 1..=2 {
        let error = setup.resolve(&format!("{}/a/b:c", origin.host()));
        let error = error.expect_err("missing");
        assert!(error.is_not_found(), "{error}");
        assert_eq!(silent.targets().len(), asked);
    }
}

/// The protocol of hosts of this machine is found out: that ends too.
#[test]
fn a_silent_host_is_given_up_while_its_protocol_is_looked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mirror = listener.local_addr().expect("bound").to_string();
    let origin = serving();
    let settings = HostConfig {
        mirrors: vec![mirror],
        ..HostConfig::default()
    };
    let setup = Setup::with(impatient(&origin.host(), settings), "{}");
    setup
        .resolve(&format!("{}/a/b:c", origin.host()))
        .expect("the registry answers");
    drop(listener);
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
