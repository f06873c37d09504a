//! Repositories that want out of their checkout, performed (CVE-2026-33748, CVE-2022-39253,
//! GHSA-49p4-px3h-rq49).

use std::fs;
use std::os::unix::fs::symlink;

use lamina_testkit::git::Repositories;
use lamina_testkit::git::Repository;

use super::engine;
use super::fail;
use super::request;
use crate::support::list;
use crate::support::paths;

/// CVE-2026-33748, GHSA-4vrq-3vrq-g6gg: the directory that a build asks for is a link to elsewhere, or is behind one.
#[test]
fn a_subdir_never_leads_out_of_the_checkout() {
    let all = Repositories::new();
    let outside = tempfile::tempdir().expect("a folder");
    fs::create_dir(outside.path().join("d")).expect("made");
    fs::write(outside.path().join("d/secret"), "x").expect("written");
    let repository = all.make("a.git", &[("real/f", "1"), ("file", "2")]);
    symlink(outside.path(), repository.path.join("absolute")).expect("made");
    symlink("../../../../../../../../../..", repository.path.join("up")).expect("made");
    symlink("real", repository.path.join("inside")).expect("made");
    repository.commit(&[]);
    let server = all.serve();
    let engine = engine();
    let outside = outside.path().display().to_string();
    for subdir in [
        "absolute",
        "absolute/d",
        &*format!("up{outside}"),
        "inside",
        "file",
        ".git",
        "real/../.git/objects",
    ] {
        let text = fail(
            &engine,
            &request(&server, "a.git", &format!("main:{subdir}")),
        );
        assert!(text.starts_with("invalid subdir "), "{subdir}: {text}");
    }
    let stack = engine
        .get(&request(&server, "a.git", "main"))
        .expect("there");
    let links = list(&stack);
    assert!(
        links.contains(&format!("/absolute Symlink 777 0:0 -> {outside}")),
        "{links:?}"
    );
    assert!(!paths(&stack).iter().any(|path| path.ends_with("secret")));
}

/// CVE-2022-39253, GHSA-vp35-85q5-9f25: a submodule that is a folder of the host.
#[test]
fn submodules_are_no_files_of_the_host() {
    let all = Repositories::new();
    let private = all.make("private", &[("secret", "x")]);
    let place = private.path.display().to_string();
    let server = all.serve();
    for (name, url) in [
        ("path", place.clone()),
        ("file", format!("file://{place}")),
        ("program", format!("ext::git %s {place}")),
    ] {
        let engine = engine();
        let repository = all.make(&format!("{name}.git"), &[("f", "1")]);
        add_submodule(&repository, &url, &private.head());
        let text = fail(&engine, &request(&server, &format!("{name}.git"), "main"));
        assert!(
            text.starts_with("failed to update submodules for "),
            "{name}: {text}"
        );
        let logged = engine.statuses.logged();
        assert!(logged.contains("not allowed"), "{name}: {logged}");
    }
}

fn add_submodule(repository: &Repository, url: &str, commit: &str) {
    let modules = format!("[submodule \"s\"]\n\tpath = s\n\turl = {url}\n");
    fs::write(repository.path.join(".gitmodules"), modules).expect("written");
    let entry = format!("160000,{commit},s");
    repository.git(&["add", ".gitmodules"]);
    repository.git(&["update-index", "--add", "--cacheinfo", &entry]);
    repository.git(&["commit", "--quiet", "--message=s"]);
}

/// Neither what a repository holds nor what it says is run.
#[test]
fn nothing_of_a_repository_is_run() {
    let all = Repositories::new();
    let sub = all.make("b.git", &[("f", "2")]);
    let marker = tempfile::tempdir().expect("a folder");
    let mark = marker.path().join("ran").display().to_string();
    let repository = all.make(
        "a.git",
        &[
            (".gitattributes", "* filter=evil diff=evil\n"),
            (".gitconfig", "[core]\n\tfsmonitor = touch ran\n"),
            ("hooks/post-checkout", "#!/bin/sh\ntouch ran\n"),
        ],
    );
    let server = all.serve();
    let url = format!("http://{}/b.git", server.host());
    add_submodule(&repository, &url, &sub.head());
    let engine = engine();
    let wanted = request(&server, "a.git", "main");
    engine.get(&wanted).expect("there");
    let modules = repository.path.join(".gitmodules");
    let text = fs::read_to_string(&modules).expect("read");
    fs::write(&modules, format!("{text}\tupdate = !touch {mark}\n")).expect("written");
    repository.git(&["add", ".gitmodules"]);
    repository.git(&["commit", "--quiet", "--message=u"]);
    let text = fail(&engine, &wanted);
    assert!(
        text.starts_with("failed to update submodules for "),
        "{text}"
    );
    assert!(!marker.path().join("ran").exists());
}

#[test]
fn addresses_are_no_options_and_no_files() {
    let engine = engine();
    for (url, words) in [
        ("file:///etc", "scheme file is not allowed"),
        ("ext::sh -c id", "invalid address"),
        ("ssh://-oProxyCommand=id/x", ""),
    ] {
        let wanted =
            lamina_sources::SourceRequest::new("git://h.test/x#main").attr("git.fullurl", url);
        let text = fail(&engine, &wanted);
        assert!(text.contains(words), "{url}: {text}");
    }
    for name in ["--upload-pack=id", "-x"] {
        let wanted = lamina_sources::SourceRequest::new(format!("git://h.test/x#{name}"));
        let text = fail(&engine, &wanted);
        assert_eq!(text, format!("invalid git ref {name:?}"));
    }
}
