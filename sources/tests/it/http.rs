//! Files from web servers and from the client (rows SRC-27 to SRC-31, SVC-17).

use std::net::TcpListener;

use lamina_session::LocalSession;
use lamina_sources::PinnedHttp;
use lamina_sources::SourceRequest;
use lamina_testkit::skipped;
use lamina_types::Digest;

use crate::server::Reply;
use crate::server::Server;
use crate::support::Engine;
use crate::support::entry;
use crate::support::list;

const TIME: &str = "Wed, 21 Oct 2015 07:28:00 GMT";

fn engine() -> Engine {
    Engine::new(LocalSession::builder())
}

fn request(server: &Server, path: &str) -> SourceRequest {
    SourceRequest::new(format!("http://{}{path}", server.host()))
}

fn describe(engine: &Engine, request: &SourceRequest) -> PinnedHttp {
    let context = engine.context();
    let described = engine.sources.resolve_http(request, &context);
    engine.runtime.block_on(described).expect("described")
}

fn fail(engine: &Engine, request: &SourceRequest) -> String {
    engine.get(request).expect_err("refused").to_string()
}

#[test]
fn a_file_is_downloaded_once() {
    let server = Server::start(|_| Reply::new(200, "data").header("last-modified", TIME));
    let engine = engine();
    let pinned = engine.resolve(&request(&server, "/d/f")).expect("resolved");
    assert!(pinned.key_is_content);
    assert_eq!(pinned.pin, Some(Digest::of(b"data")));
    let stack = engine.snapshot(&pinned).expect("there");
    assert_eq!(list(&stack), ["/f File 600 0:0 \"data\""]);
    let mtime_ns = entry(&stack, "/f").stat().mtime_ns;
    assert_eq!(mtime_ns, 1_445_412_480_000_000_000);
    assert_eq!(server.targets(), ["GET /d/f"]);
    // A pinned file that was stored is downloaded again.
    let text = serde_json::to_string(&pinned).expect("stored");
    let again = serde_json::from_str(&text).expect("read");
    assert_eq!(pinned, again);
    let again = engine.snapshot(&again).expect("there");
    assert_eq!(list(&again), list(&stack));
    assert_eq!(server.targets().len(), 2);
}

#[test]
fn name_mode_and_owner_are_the_builds() {
    let disposition = "attachment; filename=\"given\"";
    let server =
        Server::start(move |_| Reply::new(200, "x").header("content-disposition", disposition));
    let engine = engine();
    let plain = request(&server, "/f");
    assert_eq!(describe(&engine, &plain).filename, "given");
    let wanted = plain
        .clone()
        .attr("http.filename", "name")
        .attr("http.perm", "0755");
    let stack = engine.get(&wanted).expect("there");
    assert_eq!(list(&stack), ["/name File 755 0:0 \"x\""]);
    assert_eq!(entry(&stack, "/name").stat().mtime_ns, 0);
    if !rustix::process::geteuid().is_root() {
        skipped("owners need root");
        return;
    }
    let owned = wanted.attr("http.uid", "7").attr("http.gid", "8");
    let stack = engine.get(&owned).expect("there");
    assert_eq!(list(&stack), ["/name File 755 7:8 \"x\""]);
}

#[test]
fn a_known_tag_saves_the_download() {
    for (name, not_modified, answers_tag) in [
        ("usual", true, true),
        ("without a tag in the answer", true, false),
        ("a server that ignores the question", false, true),
    ] {
        let server = Server::start(move |call| {
            let known = call.header("if-none-match") == "\"t\"";
            let reply = match known && not_modified {
                true => Reply::new(304, ""),
                false => Reply::new(200, "data"),
            };
            match known && !answers_tag {
                true => reply,
                false => reply.header("etag", "\"t\""),
            }
        });
        let mut engine = engine();
        let wanted = request(&server, "/f");
        let first = engine.get(&wanted).expect("there");
        assert_eq!(engine.sources.retained_layers(), first.ids(), "{name}");
        // Also in another process.
        engine.sources = lamina_sources::Sources::new(engine.config.clone());
        assert_eq!(engine.get(&wanted).expect("known"), first, "{name}");
        assert_eq!(server.targets().len(), 2, "{name}");
        assert_eq!(describe(&engine, &wanted).digest, Digest::of(b"data"));
    }
}

#[test]
fn a_new_tag_is_a_new_file() {
    let server = Server::start(|call| {
        let tag = if call.header("if-none-match").is_empty() {
            "1"
        } else {
            "2"
        };
        Reply::new(200, tag).header("etag", format!("\"{tag}\""))
    });
    let engine = engine();
    let wanted = request(&server, "/f");
    assert_eq!(describe(&engine, &wanted).digest, Digest::of(b"1"));
    assert_eq!(describe(&engine, &wanted).digest, Digest::of(b"2"));
}

#[test]
fn a_stated_digest_needs_no_server_until_the_file_is_needed() {
    let server = Server::start(|_| Reply::new(200, "data"));
    let engine = engine();
    let stated = |content: &[u8]| {
        let digest = Digest::of(content).to_string();
        request(&server, "/f").attr("http.checksum", &digest)
    };
    let pinned = engine.resolve(&stated(b"data")).expect("resolved");
    assert!(server.targets().is_empty());
    engine.snapshot(&pinned).expect("there");
    let text = fail(&engine, &stated(b"other"));
    let (found, wanted) = (Digest::of(b"data"), Digest::of(b"other"));
    assert_eq!(text, format!("digest mismatch {found}: {wanted}"));
}

/// Row SRC-28: what is here under the stated digest needs no server at all.
#[test]
fn a_stated_digest_finds_what_was_downloaded_before() {
    let server = Server::start(|_| Reply::new(200, "data").header("etag", "\"t\""));
    let mut engine = engine();
    let wanted = request(&server, "/f");
    let first = engine.get(&wanted).expect("there");
    engine.sources = lamina_sources::Sources::new(engine.config.clone());
    let digest = |content: &[u8]| Digest::of(content).to_string();
    let stated = wanted.clone().attr("http.checksum", &digest(b"data"));
    assert_eq!(engine.get(&stated).expect("known"), first);
    assert_eq!(server.targets().len(), 1);
    let other = wanted.attr("http.checksum", &digest(b"other"));
    fail(&engine, &other);
    assert_eq!(server.targets().len(), 2, "it may be another file by now");
}

#[test]
fn failures_are_worded_as_clients_know_them() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let engine = engine();
    assert_eq!(
        fail(&engine, &SourceRequest::new(format!("http://{host}/x"))),
        format!("Get \"http://{host}/x\": dial tcp {host}: connect: connection refused")
    );
    for (user, shown) in [("u:p", "xxxxx:xxxxx"), ("token", "xxxxx")] {
        let text = fail(
            &engine,
            &SourceRequest::new(format!("http://{user}@{host}/x")),
        );
        let start = format!("Get \"http://{shown}@{host}/x\"");
        assert!(text.starts_with(&start), "{text}");
    }
    let server = Server::start(|_| Reply::new(404, "no"));
    let text = fail(&engine, &request(&server, "/x"));
    assert_eq!(text, "invalid response status 404");
    let server = Server::start(|_| Reply::new(200, "0123456789").cut_after(4));
    fail(&engine, &request(&server, "/x"));
    assert!(engine.config.layers.all_layers().is_empty());
}

#[test]
fn redirects_are_followed_without_secrets_for_strangers() {
    let other = Server::start(|_| Reply::new(200, "moved"));
    let place = format!(
        "http://localhost:{}/y",
        other.host().rsplit(':').next().expect("a port")
    );
    let server = Server::start(move |_| Reply::new(302, "").header("location", place.clone()));
    let session = LocalSession::builder().secret_bytes("HTTP_AUTH_HEADER_127.0.0.1", "secret");
    let engine = Engine::new(session);
    let stack = engine.get(&request(&server, "/x")).expect("there");
    assert_eq!(list(&stack), ["/x File 600 0:0 \"moved\""]);
    assert_eq!(server.calls()[0].header("authorization"), "secret");
    assert_eq!(other.calls()[0].header("authorization"), "");
}

#[test]
fn secrets_become_authorization() {
    let server = Server::start(|_| Reply::new(200, ""));
    for (name, secret, attr, wanted) in [
        ("header", "HTTP_AUTH_HEADER_127.0.0.1", None, "value"),
        ("token", "HTTP_AUTH_TOKEN_127.0.0.1", None, "Bearer value"),
        ("named", "id", Some("id"), "value"),
        ("of another host", "HTTP_AUTH_HEADER_h.test", None, ""),
    ] {
        let engine = Engine::new(LocalSession::builder().secret_bytes(secret, "value"));
        let mut wish = request(&server, "/x");
        if let Some(id) = attr {
            wish = wish.attr("http.authheadersecret", id);
        }
        engine.get(&wish).expect(name);
        let calls = server.calls();
        let last = calls.last().expect("called");
        assert_eq!(last.header("authorization"), wanted, "{name}");
    }
    let missing = request(&server, "/x").attr("http.authheadersecret", "none");
    assert_eq!(
        fail(&engine(), &missing),
        "failed to retrieve HTTP auth secret none: not found"
    );
}

/// A secret that only the host's name suggests: what cannot be read is not sent, but not silently;
/// what cannot be sent is refused.
#[test]
fn suggested_secrets_do_not_fail_silently() {
    let server = Server::start(|_| Reply::new(200, ""));
    let wish = request(&server, "/x");
    let id = "HTTP_AUTH_TOKEN_127.0.0.1";
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing");
    let engine = Engine::new(LocalSession::builder().secret_file(id, missing));
    engine.get(&wish).expect("a server without secrets");
    assert_eq!(server.calls()[0].header("authorization"), "");
    let warnings = engine.statuses.warnings();
    let start = format!("secret {id} is not sent, since it could not be had: ");
    assert!(
        warnings.len() == 1 && warnings[0].starts_with(&start),
        "{warnings:?}"
    );
    let engine = Engine::new(LocalSession::builder().secret_bytes(id, "two\nlines"));
    assert_eq!(
        fail(&engine, &wish),
        format!("failed to retrieve HTTP auth secret {id}: it is no header value")
    );
}

#[test]
fn the_client_uploads_what_has_the_sessions_host() {
    let session = LocalSession::builder().upload("/some-id", &b"context"[..]);
    let engine = Engine::new(session);
    let wish = SourceRequest::new("http://buildkit-session/some-id").attr("http.filename", "ctx");
    let stack = engine.get(&wish).expect("there");
    assert_eq!(list(&stack), ["/ctx File 600 0:0 \"context\""]);
    let text = fail(
        &engine,
        &SourceRequest::new("http://buildkit-session/other"),
    );
    assert!(
        text.starts_with("Get \"http://buildkit-session/other\": "),
        "{text}"
    );
}
