//! Registries that are down, slow, broken or lying.

use std::net::TcpListener;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use lamina_registry::RegistryError;

use crate::server::Call;
use crate::server::Reply;
use crate::server::Server;
use crate::support::OCI_MANIFEST;
use crate::support::Setup;
use crate::support::blob;
use crate::support::manifest;

#[test]
fn a_dead_registry_is_reported_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let started = Instant::now();
    let error = Setup::new()
        .resolve(&format!("{host}/a"))
        .expect_err("nobody listens");
    assert_eq!(
        error.to_string(),
        format!(
            "failed to do request: Get \"http://{host}/v2/a/manifests/latest\": dial tcp {host}: \
             connect: connection refused"
        )
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// Registries redirect to storage with the right to read it in the query.
#[test]
fn the_secrets_of_a_redirect_are_not_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let target = format!("http://user:secret@{host}/blob?X-Signature=secret#secret");
    let server = Server::start(move |_| Reply::new(307, "").header("location", target.clone()));
    let reference = format!("{}/a/b:c", server.host());
    let error = Setup::new().resolve(&reference).expect_err("nobody there");
    assert_eq!(
        error.to_string(),
        format!(
            "failed to do request: Get \"http://xxxxx:xxxxx@{host}/blob\": dial tcp {host}: \
             connect: connection refused"
        )
    );
}

#[test]
fn an_unknown_host_is_reported() {
    let error = Setup::new()
        .resolve("no-such-host.invalid/a")
        .expect_err("no such host");
    let text = error.to_string();
    assert!(
        text.ends_with("dial tcp: lookup no-such-host.invalid: no such host"),
        "{text}"
    );
}

#[test]
fn a_server_without_https_is_reported() {
    // Not by a loopback name, so plain http is not tried.
    let error = Setup::new().resolve("0.0.0.0:1/a").expect_err("no server");
    assert!(
        error
            .to_string()
            .ends_with("dial tcp 0.0.0.0:1: connect: connection refused"),
        "{error}"
    );
}

/// Answers `first` for the first `times` requests and then what a registry would.
fn failing_first(times: usize, first: impl Fn() -> Reply + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |call| {
        if count.fetch_add(1, Ordering::Relaxed) < times {
            return first();
        }
        if call.target.contains("/manifests/") {
            return Reply::new(200, manifest()).header("content-type", OCI_MANIFEST);
        }
        Reply::new(200, "data")
    })
}

#[test]
fn transient_answers_are_tried_again() {
    for status in [408, 429, 500, 502, 503, 504] {
        let server = failing_first(2, move || Reply::new(status, "later"));
        let reference = format!("{}/a/b:c", server.host());
        Setup::new().resolve(&reference).expect("the third time");
        assert_eq!(server.calls().len(), 3, "{status}");
    }
    let server = failing_first(2, || Reply::new(503, "").header("retry-after", "0"));
    let reference = format!("{}/a/b:c", server.host());
    Setup::new().resolve(&reference).expect("the third time");
}

#[test]
fn lost_connections_are_tried_again() {
    let server = failing_first(2, || {
        Reply::new(200, "")
            .header("content-length", "10")
            .cut_after(0)
    });
    let reference = format!("{}/a/b:c", server.host());
    let error = Setup::new().resolve(&reference);
    // The body of a manifest is not resumed, that of a blob is.
    assert!(matches!(error, Err(RegistryError::Interrupted { .. })));
}

#[test]
fn other_answers_are_final_and_quoted() {
    for (status, wanted) in [
        (400, "answered 400: UNSUPPORTED: no"),
        (418, "answered 418"),
    ] {
        let body = r#"{"errors":[{"code":"UNSUPPORTED","message":"no"}]}"#;
        let server = Server::start(move |_| Reply::new(status, body));
        let reference = format!("{}/a/b:c", server.host());
        let error = Setup::new().resolve(&reference).expect_err(wanted);
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(error.to_string().starts_with(&reference), "{error}");
        assert_eq!(server.calls().len(), 1, "{status}");
    }
    let server = Server::start(|_| Reply::new(503, "maintenance"));
    let error = Setup::new()
        .resolve(&format!("{}/a", server.host()))
        .expect_err("never");
    assert!(
        error.to_string().ends_with("answered 503: maintenance"),
        "{error}"
    );
    assert_eq!(server.calls().len(), 3);
}

/// Serves `data` with ranges, cutting each answer after `piece` bytes.
fn ranged(data: &'static [u8], piece: usize, call: &Call) -> Reply {
    let start = call
        .header("range")
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-')?.0.parse::<usize>().ok());
    let rest = &data[start.unwrap_or(0)..];
    let reply = match start {
        Some(start) => Reply::new(206, rest).header(
            "content-range",
            format!("bytes {start}-{}/{}", data.len() - 1, data.len()),
        ),
        None => Reply::new(200, rest),
    };
    if rest.len() > piece {
        reply.cut_after(piece)
    } else {
        reply
    }
}

#[test]
fn broken_downloads_are_resumed() {
    let data: &[u8] = b"0123456789abcdefghij";
    let server = Server::start(move |call| ranged(data, 3, call));
    let setup = Setup::new();
    let reference = format!("{}/a/b", server.host());
    setup.fetch(&reference, &blob(data)).expect("fetched");
    let read = setup.store.read(&blob(data).digest, 100).expect("stored");
    assert_eq!(read, data);
    let ranges: Vec<String> = server
        .calls()
        .iter()
        .map(|call| call.header("range").to_owned())
        .collect();
    assert_eq!(ranges[..3], ["", "bytes=3-19", "bytes=6-19"]);
}

#[test]
fn servers_without_ranges_are_read_again() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let reply = Reply::new(200, "0123456789");
        match count.fetch_add(1, Ordering::Relaxed) {
            0 => reply.cut_after(4),
            _ => reply,
        }
    });
    let setup = Setup::new();
    let reference = format!("{}/a/b", server.host());
    setup
        .fetch(&reference, &blob(b"0123456789"))
        .expect("fetched");
}

#[test]
fn a_download_that_never_advances_ends() {
    let server = Server::start(|_| Reply::new(200, "0123456789").cut_after(0));
    let reference = format!("{}/a/b", server.host());
    let error = Setup::new()
        .fetch(&reference, &blob(b"0123456789"))
        .expect_err("no data");
    assert!(
        matches!(error, RegistryError::Interrupted { .. }),
        "{error}"
    );
    assert!(error.to_string().contains(&server.host()), "{error}");
}

#[test]
fn lies_about_content_are_found() {
    for (name, sent, wanted) in [
        ("other bytes", &b"datA"[..], "instead of"),
        (
            "too much",
            &b"data and more"[..],
            "sent more than the 4 bytes",
        ),
    ] {
        let server = Server::start(move |_| Reply::new(200, sent));
        let setup = Setup::new();
        let reference = format!("{}/a/b", server.host());
        let error = setup.fetch(&reference, &blob(b"data")).expect_err(name);
        assert!(error.to_string().contains(wanted), "{name}: {error}");
        assert!(error.to_string().starts_with(&reference), "{name}: {error}");
        assert!(!setup.store.contains(&blob(b"data").digest), "{name}");
    }
}

#[test]
fn bad_redirects_end() {
    let around = Server::start(|call| Reply::new(302, "").header("location", call.target.clone()));
    let nowhere = Server::start(|_| Reply::new(302, ""));
    let scheme = Server::start(|_| Reply::new(302, "").header("location", "file:///etc/passwd"));
    for (server, wanted) in [
        (around, "too often"),
        (nowhere, "it does not say where to"),
        (scheme, "it does not say where to"),
    ] {
        let error = Setup::new()
            .resolve(&format!("{}/a", server.host()))
            .expect_err(wanted);
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[test]
fn cancelling_ends_a_download_and_leaves_nothing() {
    let (started, waiting) = std::sync::mpsc::channel();
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let hold = std::sync::Mutex::new(hold);
    let server = Server::start(move |_| {
        started.send(()).ok();
        drop(hold.lock().map(|hold| hold.recv()));
        Reply::new(200, "data")
    });
    let setup = Setup::new();
    let cancel = setup.cancel.clone();
    let canceller = std::thread::spawn(move || {
        waiting.recv().expect("asked");
        cancel.cancel();
    });
    let reference = format!("{}/a/b", server.host());
    let error = setup
        .fetch(&reference, &blob(b"data"))
        .expect_err("cancelled");
    assert!(error.is_cancelled(), "{error}");
    canceller.join().expect("no panic");
    assert!(!setup.store.contains(&blob(b"data").digest));
    drop(release);
}

#[test]
fn a_mounted_blob_is_not_sent() {
    let server = Server::start(|call| match call.method.as_str() {
        "HEAD" => Reply::new(404, ""),
        "POST" if call.target.contains("mount=") => Reply::new(201, ""),
        "POST" => Reply::new(202, "").header("location", "/upload"),
        _ => Reply::new(201, ""),
    });
    let setup = Setup::new();
    setup.store.put(b"data").expect("stored");
    for repository in ["one", "two"] {
        let reference = format!("{}/{repository}", server.host());
        setup.push(&reference, &blob(b"data")).expect("pushed");
    }
    let targets = server.targets();
    let digest = blob(b"data").digest.to_string().replace(':', "%3A");
    let mounted = format!("POST /v2/two/blobs/uploads/?mount={digest}&from=one");
    assert_eq!(targets.last(), Some(&mounted));
}

#[test]
fn broken_uploads_begin_anew() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |call| match call.method.as_str() {
        "HEAD" => Reply::new(404, ""),
        "POST" => Reply::new(202, "").header("location", "/upload"),
        _ if count.fetch_add(1, Ordering::Relaxed) < 2 => Reply::new(500, "later"),
        _ => Reply::new(201, ""),
    });
    let setup = Setup::new();
    setup.store.put(b"data").expect("stored");
    let reference = format!("{}/a", server.host());
    setup.push(&reference, &blob(b"data")).expect("pushed");
    let calls = server.calls();
    let sent: Vec<_> = calls.iter().filter(|call| call.method == "PUT").collect();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|call| call.body == b"data"));
}
