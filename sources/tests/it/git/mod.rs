//! Checkouts from servers of this machine (rows SRC-16 to SRC-23, SRC-26, GW-11).

mod attacks;
mod auth;
mod kept;
mod resilience;
mod ssh;

use lamina_session::LocalSession;
use lamina_sources::GitObjects;
use lamina_sources::PinnedGit;
use lamina_sources::PinnedKind;
use lamina_sources::SourceRequest;
use lamina_testkit::git::COMMITTED;
use lamina_testkit::git::Repositories;
use lamina_testkit::git::Repository;
use lamina_testkit::server::Server;

use crate::support::Engine;
use crate::support::entry;
use crate::support::list;
use crate::support::paths;

fn engine() -> Engine {
    Engine::new(LocalSession::builder())
}

fn fail(engine: &Engine, request: &SourceRequest) -> String {
    engine.get(request).expect_err("refused").to_string()
}

fn pin(engine: &Engine, request: &SourceRequest) -> PinnedGit {
    match engine.resolve(request).expect("resolved").kind {
        PinnedKind::Git(git) => *git,
        other => panic!("{other:?}"),
    }
}

/// Returns a request for `name` on a server, with what follows `#`.
fn request(server: &Server, name: &str, fragment: &str) -> SourceRequest {
    let host = server.host();
    let fragment = match fragment {
        "" => String::new(),
        some => format!("#{some}"),
    };
    SourceRequest::new(format!("git://{host}/{name}{fragment}"))
        .attr("git.fullurl", &format!("http://{host}/{name}"))
        .attr("git.authtokensecret", "GIT_AUTH_TOKEN")
        .attr("git.authheadersecret", "GIT_AUTH_HEADER")
}

#[test]
fn the_tree_is_as_git_has_it() {
    let all = Repositories::new();
    let repository = all.make(
        "a.git",
        &[("file", "1"), ("dir/tool", "2"), (".gitattributes", "")],
    );
    std::os::unix::fs::symlink("../file", repository.path.join("dir/link")).expect("made");
    repository.git(&["update-index", "--add", "--chmod=+x", "dir/tool"]);
    repository.git(&["add", "dir/link"]);
    repository.git(&["commit", "--quiet", "--message=modes"]);
    let server = all.serve();
    let engine = engine();
    let stack = engine.get(&request(&server, "a.git", "")).expect("there");
    assert_eq!(
        list(&stack),
        [
            "/.gitattributes File 644 0:0 \"\"",
            "/dir Directory 755 0:0",
            "/dir/link Symlink 777 0:0 -> ../file",
            "/dir/tool File 755 0:0 \"2\"",
            "/file File 644 0:0 \"1\"",
        ]
    );
}

/// Row SRC-16: the same commit by every name that it has.
#[test]
fn a_commit_has_many_names() {
    let all = Repositories::new();
    let repository = all.make("a.git", &[("f", "1")]);
    let first = &*repository.head();
    repository.git(&["tag", "light"]);
    repository.git(&["tag", "--annotate", "--message=t", "heavy"]);
    let tag = &*repository.git(&["rev-parse", "heavy"]);
    repository.git(&["branch", "side/way"]);
    repository.git(&["update-ref", "refs/pull/1/head", first]);
    repository.commit(&[("f", "2")]);
    let server = all.serve();
    let engine = engine();
    for (name, full, object) in [
        ("light", "refs/tags/light", first),
        ("heavy", "refs/tags/heavy", tag),
        ("refs/tags/heavy", "refs/tags/heavy", tag),
        ("side/way", "refs/heads/side/way", first),
        ("refs/heads/side/way", "refs/heads/side/way", first),
        ("refs/pull/1/head", "refs/pull/1/head", first),
        ("pull/1/head", "refs/pull/1/head", first),
        (first, first, first),
    ] {
        let request = request(&server, "a.git", name);
        let pinned = pin(&engine, &request);
        assert_eq!(
            (&*pinned.reference, &*pinned.object),
            (full, object),
            "{name}"
        );
        let stack = engine.get(&request).expect(name);
        assert_eq!(list(&stack), ["/f File 644 0:0 \"1\""], "{name}");
    }
    let main = pin(&engine, &request(&server, "a.git", ""));
    assert_eq!(
        (&*main.reference, main.object),
        ("refs/heads/main", repository.head())
    );
    let heavy = engine
        .resolve(&request(&server, "a.git", "heavy"))
        .expect("there");
    let direct = engine
        .resolve(&request(&server, "a.git", first))
        .expect("there");
    assert_eq!(heavy.cache_key, direct.cache_key);
}

#[test]
fn only_what_is_needed_is_fetched() {
    let all = Repositories::new();
    let repository = all.make("a.git", &[("f", "1")]);
    let old = repository.head();
    repository.commit(&[("f", "2")]);
    let server = all.serve();
    let engine = engine();
    let wanted = request(&server, "a.git", "main");
    engine.get(&wanted).expect("there");
    let fetches = |server: &Server| {
        let calls = server.calls();
        let posts = calls.iter().filter(|call| call.method == "POST");
        posts
            .filter(|call| contains(&call.body, b"command=fetch"))
            .count()
    };
    assert!(fetches(&server) >= 1);
    let folder = fetched_repository(&engine);
    let count = |folder: &std::path::Path| {
        let repository = Repository {
            path: folder.to_owned(),
        };
        repository.git(&["rev-list", "--all", "--count"])
    };
    assert_eq!(count(&folder), "1", "without history");
    let before = fetches(&server);
    engine.get(&wanted).expect("there");
    assert_eq!(fetches(&server), before, "it is there");
    engine.get(&request(&server, "a.git", &old)).expect("there");
    assert!(fetches(&server) > before);
    assert!(!engine.dir.path().join("sources/git/tmp-0").exists());
}

fn contains(body: &[u8], words: &[u8]) -> bool {
    // Requests may be compressed; git does so from one kilobyte on.
    body.windows(words.len()).any(|window| window == words)
}

/// The one repository that the engine keeps.
fn fetched_repository(engine: &Engine) -> std::path::PathBuf {
    let folder = engine.dir.path().join("sources/git");
    let mut found = std::fs::read_dir(folder)
        .expect("there")
        .map(|entry| entry.expect("read").path());
    found.next().expect("a repository")
}

#[test]
fn a_branch_that_moves_is_followed() {
    let all = Repositories::new();
    let repository = all.make("a.git", &[("f", "1")]);
    let server = all.serve();
    let engine = engine();
    let wanted = request(&server, "a.git", "main");
    let first = engine.resolve(&wanted).expect("there");
    engine.snapshot(&first).expect("there");
    repository.commit(&[("f", "2")]);
    let second = engine.resolve(&wanted).expect("there");
    assert_ne!(first.cache_key, second.cache_key);
    // The pinned commit counts, not where the branch is by now; also in another process.
    let mut other = Engine::new(LocalSession::builder());
    assert_eq!(
        list(&other.snapshot(&first).expect("there")),
        ["/f File 644 0:0 \"1\""]
    );
    other.sources = lamina_sources::Sources::new(other.config.clone());
    let text = serde_json::to_string(&second).expect("stored");
    let stored = serde_json::from_str(&text).expect("read");
    assert_eq!(
        list(&other.snapshot(&stored).expect("there")),
        ["/f File 644 0:0 \"2\""]
    );
    // Rewritten, and a name below the old name.
    repository.git(&["checkout", "--quiet", "-b", "x"]);
    engine.get(&request(&server, "a.git", "x")).expect("there");
    repository.git(&["branch", "-m", "x", "x/y"]);
    engine
        .get(&request(&server, "a.git", "x/y"))
        .expect("there");
}

#[test]
fn parts_and_times() {
    let all = Repositories::new();
    all.make("a.git", &[("f", "1"), ("d/e/g", "2")]);
    let server = all.serve();
    let engine = engine();
    for subdir in ["d", "/d/", "x/../d", "../../d"] {
        let stack = engine.get(&request(&server, "a.git", &format!("main:{subdir}")));
        assert_eq!(paths(&stack.expect(subdir)), ["e", "e/g"], "{subdir}");
    }
    let text = fail(&engine, &request(&server, "a.git", "main:no"));
    assert!(
        text.starts_with("invalid subdir \"no\" of http://"),
        "{text}"
    );
    let timed = request(&server, "a.git", "main").attr("git.mtime", "commit");
    let stack = engine.get(&timed).expect("there");
    for path in ["/", "/f", "/d", "/d/e/g"] {
        let found = entry(&stack, path).stat().mtime_ns;
        assert_eq!(found, i128::from(COMMITTED) * 1_000_000_000, "{path}");
    }
}

/// Rows SRC-20, SRC-23.
#[test]
fn commits_are_checked() {
    let all = Repositories::new();
    let repository = all.make("a.git", &[("f", "1")]);
    repository.git(&["tag", "--annotate", "--message=t", "v1"]);
    let (commit, tag) = (repository.head(), repository.git(&["rev-parse", "v1"]));
    let server = all.serve();
    let engine = engine();
    let with =
        |name: &str, checksum: &str| request(&server, "a.git", name).attr("git.checksum", checksum);
    for (name, checksum) in [
        ("main", &*commit),
        ("main", &commit[..7]),
        ("v1", &*tag),
        ("v1", &*commit),
        (&*commit, &commit[..7]),
        (&*tag, &*tag),
    ] {
        engine.get(&with(name, checksum)).expect(name);
    }
    let text = fail(&engine, &with("main", "0000"));
    assert_eq!(
        text,
        format!("expected checksum to match 0000, got {commit}")
    );
    let before = server.calls().len();
    let direct = with("gone", &commit).attr("git.fetchbycommit", "true");
    let fresh = Engine::new(LocalSession::builder());
    fresh.get(&direct).expect("by commit");
    let asked = &server.calls()[before..];
    assert!(
        asked
            .iter()
            .all(|call| !contains(&call.body, b"refs/heads/gone"))
    );
    let wrong = "1234".repeat(10);
    let text = fail(&fresh, &request(&server, "a.git", &wrong));
    let url = format!("http://{}/a.git", server.host());
    assert_eq!(
        text,
        format!("repository {url} does not contain commit {wrong}")
    );
}

/// Row GW-11.
#[test]
fn frontends_get_the_objects() {
    let all = Repositories::new();
    let repository = all.make("a.git", &[("f", "1")]);
    repository.git(&["tag", "--annotate", "--message=words", "v1"]);
    let server = all.serve();
    let engine = engine();
    let (wanted, context) = (request(&server, "a.git", "v1"), engine.context());
    let found = engine.sources.resolve_git(&wanted, true, &context);
    let (pinned, objects) = engine.runtime.block_on(found).expect("there");
    let raw = |kind: &str| format!("{}\n", repository.git(&["cat-file", kind, "v1"])).into_bytes();
    let wanted = GitObjects {
        commit: raw("commit"),
        tag: raw("tag"),
    };
    assert_eq!(objects, Some(wanted));
    assert_eq!(pinned.object, repository.git(&["rev-parse", "v1"]));
    assert_eq!(pinned.commit, Some(repository.head()));
}

#[test]
fn newer_formats_work() {
    let all = Repositories::new();
    let repository = all.make_as("a.git", &[("f", "1")], &["--object-format=sha256"]);
    let server = all.serve();
    let engine = engine();
    assert_eq!(repository.head().len(), 64);
    for name in ["main", &*repository.head()] {
        let wanted = request(&server, "a.git", name);
        assert_eq!(paths(&engine.get(&wanted).expect(name)), ["f"]);
        let kept = engine
            .get(&wanted.attr("git.keepgitdir", "true"))
            .expect(name);
        assert!(paths(&kept).contains(&".git/HEAD".to_owned()));
    }
}

/// A server of plain files knows nothing of depth, nor of single commits.
#[test]
fn servers_of_plain_files_will_do() {
    let all = Repositories::new();
    let repository = all.make("a.git", &[("f", "1")]);
    let first = repository.head();
    repository.commit(&[("f", "2")]);
    repository.git(&["update-server-info"]);
    let server = all.serve_files();
    let engine = engine();
    for (name, content) in [("main", "2"), ("", "2"), (&*first, "1")] {
        let stack = engine
            .get(&request(&server, "a.git/.git", name))
            .expect(name);
        assert_eq!(
            list(&stack),
            [format!("/f File 644 0:0 {content:?}")],
            "{name}"
        );
    }
}

#[test]
fn what_fails_is_named() {
    let all = Repositories::new();
    all.make("a.git", &[("f", "1")]);
    let server = all.serve();
    let engine = engine();
    let host = server.host();
    let text = fail(&engine, &request(&server, "a.git", "none"));
    assert_eq!(
        text,
        format!("repository http://{host}/a.git does not contain ref none")
    );
    let text = fail(&engine, &request(&server, "b.git", "x"));
    let wanted = format!(
        "failed to fetch remote http://{host}/b.git at x: fatal: repository 'http://{host}/b.git/' not found"
    );
    assert_eq!(text, wanted);
    let gone = SourceRequest::new("git://127.0.0.1:1/a.git")
        .attr("git.fullurl", "http://127.0.0.1:1/a.git");
    let text = fail(&engine, &gone);
    assert!(
        text.starts_with("failed to fetch remote http://127.0.0.1:1/a.git: fatal: "),
        "{text}"
    );
}
