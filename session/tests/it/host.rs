//! Listing a directory of this host (row SRC-11).

use std::fs;

use lamina_session::LocalRequest;
use lamina_session::host;
use lamina_types::CancelToken;

/// Lists a fixed tree; each pattern list is separated by spaces.
fn list(includes: &str, excludes: &str, follow: &str) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a folder");
    for folder in ["a/b", "a.b", "c"] {
        fs::create_dir_all(dir.path().join(folder)).expect("made");
    }
    for file in ["a/b/x", "a/y", "a.b/z", "c/log.txt", "top"] {
        fs::write(dir.path().join(file), file).expect("written");
    }
    std::os::unix::fs::symlink("c/log.txt", dir.path().join("link")).expect("linked");
    let socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket"));
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    let request = LocalRequest {
        name: "context".to_owned(),
        includes: words(includes),
        excludes: words(excludes),
        follow: words(follow),
    };
    let root = host::open_root(dir.path()).expect("opens");
    let entries = host::list(&root, &request, &CancelToken::new()).expect("listed");
    drop(socket);
    entries.iter().map(host::HostEntry::shown).collect()
}

#[test]
fn entries_come_in_path_order_as_patterns_say() {
    for (includes, excludes, follow, wanted) in [
        ("", "", "", "a a/b a/b/x a/y a.b a.b/z c c/log.txt link top"),
        ("a", "", "", "a a/b a/b/x a/y"),
        ("**/x", "", "", "a a/b a/b/x"),
        ("", "a", "", "a.b a.b/z c c/log.txt link top"),
        (
            "",
            "a !a/b/x",
            "",
            "a a/b a/b/x a.b a.b/z c c/log.txt link top",
        ),
        ("", "", "link", "c c/log.txt link"),
        ("top", "", "link", "c c/log.txt link top"),
        ("none", "", "", ""),
    ] {
        assert_eq!(
            list(includes, excludes, follow).join(" "),
            wanted,
            "includes {includes:?}, excludes {excludes:?}, follow {follow:?}"
        );
    }
}

#[test]
fn malformed_patterns_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = host::open_root(dir.path()).expect("opens");
    let request = LocalRequest {
        excludes: vec!["[".to_owned()],
        ..LocalRequest::default()
    };
    let error = host::list(&root, &request, &CancelToken::new()).expect_err("malformed");
    assert!(
        error.to_string().starts_with("excludepatterns: "),
        "{error}"
    );
}

#[test]
fn a_cancelled_listing_stops() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = host::open_root(dir.path()).expect("opens");
    let cancel = CancelToken::new();
    cancel.cancel();
    let error = host::list(&root, &LocalRequest::default(), &cancel).expect_err("cancelled");
    assert_eq!(error.to_string(), "context canceled");
}
