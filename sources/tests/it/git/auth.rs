//! Who asks, and who must not learn it (row SRC-18, CVE-2023-26054).

use std::path::Path;

use lamina_session::LocalSession;
use lamina_session::LocalSessionBuilder;
use lamina_testkit::git::Repositories;
use lamina_testkit::git::backend;
use lamina_testkit::server::Reply;
use lamina_testkit::server::Server;

use super::request;
use crate::support::Engine;
use crate::support::paths;

const SECRET: &str = "s3cr3t-t0ken";
/// `x-access-token:s3cr3t-t0ken`
const AS_TOKEN: &str = "Basic eC1hY2Nlc3MtdG9rZW46czNjcjN0LXQwa2Vu";
/// `user:s3cr3t-t0ken`
const AS_LOGIN: &str = "Basic dXNlcjpzM2NyM3QtdDBrZW4=";

/// Serves those who send `wanted`, and tells others what they sent.
fn guarded(all: &Repositories, wanted: &'static str) -> Server {
    let root = all.dir.path().to_owned();
    Server::start(move |call| {
        let sent = call.header("authorization");
        if sent == wanted {
            return backend(&root, call);
        }
        let told = format!("you sent {sent}, that is {SECRET}\n");
        Reply::new(403, told).header("content-type", "text/plain")
    })
}

fn engine(secrets: &[(&str, &str)]) -> Engine {
    let add = |session: LocalSessionBuilder, (id, secret): &(&str, &str)| {
        session.secret_bytes(*id, *secret)
    };
    Engine::new(secrets.iter().fold(LocalSession::builder(), add))
}

#[test]
fn secrets_are_sent() {
    let all = Repositories::new();
    all.make("a.git", &[("f", "1")]);
    for (wanted, id) in [
        (AS_TOKEN, "GIT_AUTH_TOKEN"),
        (AS_TOKEN, "GIT_AUTH_TOKEN.{host}"),
        ("Bearer s3cr3t-t0ken", "GIT_AUTH_HEADER"),
        ("Bearer s3cr3t-t0ken", "GIT_AUTH_HEADER.{host}"),
    ] {
        let server = guarded(&all, wanted);
        let id = id.replace("{host}", &server.host());
        let secret = wanted.strip_prefix("Basic ").map_or(wanted, |_| SECRET);
        // What an editor leaves at the end is not sent.
        let secret = format!("{secret}\n");
        let engine = engine(&[(&id, &secret)]);
        let stack = engine.get(&request(&server, "a.git", "main")).expect(&id);
        assert_eq!(paths(&stack), ["f"], "{id}");
        assert_says_nothing(&engine, &id);
    }
}

#[test]
fn the_host_s_own_secret_comes_first() {
    let all = Repositories::new();
    all.make("a.git", &[("f", "1")]);
    let server = guarded(&all, AS_TOKEN);
    let own = format!("GIT_AUTH_TOKEN.{}", server.host());
    let engine = engine(&[("GIT_AUTH_HEADER", "Bearer other"), (&own, SECRET)]);
    engine.get(&request(&server, "a.git", "")).expect("there");
}

#[test]
fn credentials_of_the_address_are_used_and_hidden() {
    let all = Repositories::new();
    all.make("a.git", &[("f", "1")]);
    let server = guarded(&all, AS_LOGIN);
    let url = format!("http://user:{SECRET}@{}/a.git", server.host());
    let engine = engine(&[]);
    let wanted = request(&server, "a.git", "main")
        .attr("git.fullurl", &url)
        .attr("git.keepgitdir", "true");
    let pinned = engine.resolve(&wanted).expect("there");
    let stored = serde_json::to_string(&pinned).expect("stored");
    let shown = format!("{stored} {pinned:?}");
    assert!(
        !shown.contains(SECRET) && !shown.contains(&AS_LOGIN[6..]),
        "{shown}"
    );
    engine.snapshot(&pinned).expect("there");
    assert_says_nothing(&engine, "address");
}

/// A server that tells what it was sent, to a client that shows what it is told.
#[test]
fn refusals_show_no_secrets() {
    let all = Repositories::new();
    all.make("a.git", &[("f", "1")]);
    let server = guarded(&all, "nothing");
    let engine = engine(&[("GIT_AUTH_TOKEN", SECRET)]);
    let error = engine
        .get(&request(&server, "a.git", ""))
        .expect_err("refused");
    let text = format!("{error} {error:?}");
    assert!(text.contains("403"), "{text}");
    assert!(
        !text.contains(SECRET) && !text.contains(&AS_TOKEN[6..]),
        "{text}"
    );
    assert!(
        engine.statuses.logged().contains("xxxxx"),
        "{}",
        engine.statuses.logged()
    );
    assert_says_nothing(&engine, "refusal");
}

#[test]
fn other_hosts_get_no_secrets() {
    let all = Repositories::new();
    all.make("b.git", &[("f", "2")]);
    let stranger = all.serve();
    let top = all.make("a.git", &[("f", "1")]);
    let url = format!("http://{}/b.git", stranger.host());
    top.git(&["submodule", "--quiet", "add", &url, "sub"]);
    top.commit(&[]);
    let server = guarded(&all, AS_TOKEN);
    let engine = engine(&[("GIT_AUTH_TOKEN", SECRET)]);
    engine.get(&request(&server, "a.git", "")).expect("there");
    let calls = stranger.calls();
    assert!(
        !calls.is_empty()
            && calls
                .iter()
                .all(|call| call.header("authorization").is_empty())
    );
}

#[test]
fn a_secret_that_is_no_header_is_refused() {
    let all = Repositories::new();
    let server = all.serve();
    let engine = engine(&[("GIT_AUTH_HEADER", "a\nHost: b")]);
    let error = engine
        .get(&request(&server, "a.git", ""))
        .expect_err("refused");
    let wanted = "failed to use git auth secret GIT_AUTH_HEADER: it is no header value";
    assert_eq!(error.to_string(), wanted);
}

/// Looks for the secret in all that the engine shows and keeps.
fn assert_says_nothing(engine: &Engine, name: &str) {
    let logged = engine.statuses.logged();
    let forms = [SECRET, &AS_TOKEN[6..], &AS_LOGIN[6..]];
    assert!(
        !forms.iter().any(|form| logged.contains(form)),
        "{name}: {logged}"
    );
    assert_holds_nothing(engine.dir.path(), &forms);
}

fn assert_holds_nothing(dir: &Path, forms: &[&str]) {
    for found in std::fs::read_dir(dir).expect("readable") {
        let path = found.expect("readable").path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            assert_holds_nothing(&path, forms);
            continue;
        }
        let data = std::fs::read(&path).expect("readable");
        let text = String::from_utf8_lossy(&data);
        assert!(
            !forms.iter().any(|form| text.contains(form)),
            "{}",
            path.display()
        );
    }
}
