//! Tokens: asked for by scope, remembered, and never shown to the wrong host (row SRC-07).

use std::sync::Arc;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lamina_registry::RegistryConfig;

use crate::server::Call;
use crate::server::Reply;
use crate::server::Server;
use crate::support::OCI_MANIFEST;
use crate::support::Setup;
use crate::support::blob;
use crate::support::docker_config;
use crate::support::manifest;

/// A registry that wants tokens from `/token` on itself; `valid` is the one that it takes.
fn guarded(valid: &'static str) -> Server {
    let host: Arc<Mutex<String>> = Arc::default();
    let own = Arc::clone(&host);
    let server = Server::start(move |call| {
        let host = own.lock().expect("unpoisoned").clone();
        if call.target.starts_with("/token") {
            return Reply::new(200, format!(r#"{{"token":"{valid}","expires_in":300}}"#));
        }
        if call.header("authorization") != format!("Bearer {valid}") {
            let challenge = format!(
                r#"Bearer realm="http://{host}/token",service="the registry",scope="repository:a/b:pull""#
            );
            return Reply::new(401, "{}").header("www-authenticate", challenge);
        }
        content(call)
    });
    *host.lock().expect("unpoisoned") = server.host();
    server
}

fn content(call: &Call) -> Reply {
    if call.target.contains("/manifests/") {
        Reply::new(200, manifest()).header("content-type", OCI_MANIFEST)
    } else {
        Reply::new(200, "data")
    }
}

#[test]
fn anonymous_tokens_are_fetched_once_and_reused() {
    let server = guarded("t1");
    let setup = Setup::new();
    let reference = format!("{}/a/b:c", server.host());
    setup.resolve(&reference).expect("resolved");
    setup.fetch(&reference, &blob(b"data")).expect("fetched");
    assert_eq!(
        server.targets(),
        [
            "GET /v2/a/b/manifests/c".to_owned(),
            "GET /token?service=the+registry&scope=repository%3Aa%2Fb%3Apull".to_owned(),
            "GET /v2/a/b/manifests/c".to_owned(),
            format!("GET /v2/a/b/blobs/{}", blob(b"data").digest),
        ]
    );
    assert_eq!(server.calls()[1].header("authorization"), "");
}

#[test]
fn sessions_do_not_share_tokens() {
    let server = guarded("t1");
    let (mut setup, other) = (Setup::new(), Setup::new());
    let reference = format!("{}/a/b:c", server.host());
    setup.resolve(&reference).expect("resolved");
    setup.session = other.session;
    setup.resolve(&reference).expect("resolved");
    let tokens = server.targets();
    let asked = tokens.iter().filter(|t| t.contains("/token")).count();
    assert_eq!(asked, 2, "{tokens:?}");
}

#[test]
fn passwords_go_to_the_token_server_only() {
    let server = guarded("t1");
    let config = docker_config(&server.host(), "user", "hunter2");
    let setup = Setup::with(RegistryConfig::default(), &config);
    let reference = format!("{}/a/b:c", server.host());
    setup.resolve(&reference).expect("resolved");
    let calls = server.calls();
    let basic = format!("Basic {}", STANDARD.encode("user:hunter2"));
    assert_eq!(calls[1].header("authorization"), basic);
    assert!(calls[1].target.contains("account=user"));
    assert_eq!(calls[2].header("authorization"), "Bearer t1");
}

#[test]
fn identity_tokens_are_exchanged() {
    let server = guarded("t1");
    let config = format!(
        r#"{{"auths": {{"{}": {{"identitytoken": "op/que"}}}}}}"#,
        server.host()
    );
    let setup = Setup::with(RegistryConfig::default(), &config);
    setup
        .resolve(&format!("{}/a/b:c", server.host()))
        .expect("resolved");
    let call = &server.calls()[1];
    let form = String::from_utf8(call.body.clone()).expect("text");
    assert_eq!(call.method, "POST");
    assert!(
        form.contains("grant_type=refresh_token") && form.contains("refresh_token=op%2Fque"),
        "{form}"
    );
}

#[test]
fn a_registry_that_never_accepts_its_own_tokens_is_denied_access() {
    let server = Server::start(|call| {
        if call.target.starts_with("/token") {
            return Reply::new(200, r#"{"token":"t"}"#);
        }
        let challenge = format!(r#"Bearer realm="http://{}/token""#, call.header("host"));
        let body = r#"{"errors":[{"code":"DENIED","message":"requested access is denied"}]}"#;
        Reply::new(401, body).header("www-authenticate", challenge)
    });
    let reference = format!("{}/a/b:c", server.host());
    let error = Setup::new().resolve(&reference).expect_err("denied");
    assert_eq!(
        error.to_string(),
        format!(
            "{reference}: access to registry {} denied (no credentials are configured): DENIED: \
             requested access is denied",
            server.host()
        )
    );
    assert_eq!(server.calls().len(), 3);
}

#[test]
fn failing_token_servers_are_named() {
    for (status, body, wanted) in [
        (500, "down", "500: down"),
        (200, "{}", "the answer holds no token"),
        (200, "no json", "the answer holds no token"),
        (401, "", "denied"),
    ] {
        let server = Server::start(move |call| {
            if call.target.starts_with("/token") {
                return Reply::new(status, body);
            }
            let challenge = format!(r#"Bearer realm="http://{}/token""#, call.header("host"));
            Reply::new(401, "").header("www-authenticate", challenge)
        });
        let reference = format!("{}/a/b:c", server.host());
        let error = Setup::new().resolve(&reference).expect_err(wanted);
        let text = error.to_string();
        assert!(text.starts_with(&reference), "{text}");
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn redirects_to_other_hosts_do_not_see_the_token() {
    let storage = Server::start(|_| Reply::new(200, "data"));
    let storage_host = storage.host().replace("127.0.0.1", "localhost");
    let server = Server::start(move |call| {
        if call.target.starts_with("/token") {
            return Reply::new(200, r#"{"token":"t1"}"#);
        }
        if call.header("authorization").is_empty() {
            let challenge = format!(r#"Bearer realm="http://{}/token""#, call.header("host"));
            return Reply::new(401, "").header("www-authenticate", challenge);
        }
        Reply::new(307, "").header("location", format!("http://{storage_host}/bucket?sig=1"))
    });
    let setup = Setup::new();
    setup
        .fetch(&format!("{}/a/b", server.host()), &blob(b"data"))
        .expect("fetched");
    let calls = storage.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].target, "/bucket?sig=1");
    assert_eq!(calls[0].header("authorization"), "");
}

#[test]
fn uploads_to_other_hosts_do_not_see_the_token() {
    let storage = Server::start(|_| Reply::new(201, ""));
    let storage_host = storage.host().replace("127.0.0.1", "localhost");
    let server = Server::start(move |call| {
        if call.target.starts_with("/token") {
            return Reply::new(200, r#"{"token":"t1"}"#);
        }
        if call.header("authorization").is_empty() {
            let challenge = format!(r#"Bearer realm="http://{}/token""#, call.header("host"));
            return Reply::new(401, "").header("www-authenticate", challenge);
        }
        match call.method.as_str() {
            "HEAD" => Reply::new(404, ""),
            _ => Reply::new(202, "").header("location", format!("http://{storage_host}/up?s=1")),
        }
    });
    let setup = Setup::new();
    setup.store.put(b"data").expect("stored");
    setup
        .push(&format!("{}/a/b", server.host()), &blob(b"data"))
        .expect("pushed");
    let calls = storage.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].method, "PUT");
    assert_eq!(calls[0].body, b"data");
    assert!(calls[0].target.starts_with("/up?s=1&digest=sha256%3A"));
    assert_eq!(calls[0].header("authorization"), "");
}

#[test]
fn a_mount_that_is_denied_becomes_an_upload() {
    let server = Server::start(|call| {
        if call.target.starts_with("/token") {
            // Tokens are for one repository only.
            let denied = call.target.contains("one%3Apull");
            return match denied && call.target.contains("two%3Apull%2Cpush") {
                true => Reply::new(403, "denied"),
                false => Reply::new(200, r#"{"token":"t1"}"#),
            };
        }
        if call.header("authorization").is_empty() {
            let challenge = format!(r#"Bearer realm="http://{}/token""#, call.header("host"));
            return Reply::new(401, "").header("www-authenticate", challenge);
        }
        match call.method.as_str() {
            "HEAD" => Reply::new(404, ""),
            "POST" => Reply::new(202, "").header("location", "/upload"),
            _ => Reply::new(201, ""),
        }
    });
    let setup = Setup::new();
    setup.store.put(b"data").expect("stored");
    for repository in ["one", "two"] {
        setup
            .push(&format!("{}/{repository}", server.host()), &blob(b"data"))
            .expect(repository);
    }
    let targets = server.targets();
    let uploads = targets.iter().filter(|t| t.starts_with("PUT /upload"));
    assert_eq!(uploads.count(), 2, "{targets:?}");
}
