//! Repositories that are damaged, builds that are cancelled, many builds at once.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use lamina_testkit::git::Repositories;
use lamina_testkit::git::backend;
use lamina_testkit::server::Reply;
use lamina_testkit::server::Server;

use super::engine;
use super::fail;
use super::fetched_repository;
use super::request;
use crate::support::paths;

#[test]
fn a_damaged_repository_is_replaced() {
    let all = Repositories::new();
    let repository = all.make("a.git", &[("f", "1")]);
    let server = all.serve();
    let engine = engine();
    let wanted = request(&server, "a.git", "main");
    engine.get(&wanted).expect("there");
    let kept = fetched_repository(&engine);
    for (name, damage) in [
        ("no objects", "objects"),
        ("no head", "HEAD"),
        ("nonsense", "config"),
        ("locked", "shallow.lock"),
    ] {
        let path = kept.join(damage);
        match damage {
            "objects" => fs::remove_dir_all(&path).expect("removed"),
            _ => fs::write(&path, "nonsense\n[").expect("written"),
        }
        repository.commit(&[("f", name)]);
        assert_eq!(paths(&engine.get(&wanted).expect(name)), ["f"], "{name}");
        assert!(kept.join("HEAD").exists(), "{name}");
    }
    let left = fs::read_dir(kept.parent().expect("a folder"))
        .expect("read")
        .count();
    assert_eq!(left, 1);
}

/// A server that is away for a while costs no repository.
#[test]
fn a_repository_outlives_its_server() {
    let all = Repositories::new();
    let repository = all.make("a.git", &[("f", "1")]);
    let away = Arc::new(AtomicBool::new(false));
    let (root, gone) = (all.dir.path().to_owned(), Arc::clone(&away));
    let server = Server::start(move |call| match gone.load(Ordering::Relaxed) {
        true => Reply::new(500, ""),
        false => backend(&root, call),
    });
    let engine = engine();
    let first = repository.head();
    engine
        .get(&request(&server, "a.git", "main"))
        .expect("there");
    let second = repository.commit(&[("f", "2")]);
    away.store(true, Ordering::Relaxed);
    let text = fail(&engine, &request(&server, "a.git", &second));
    assert!(text.contains("500"), "{text}");
    engine
        .get(&request(&server, "a.git", &first))
        .expect("it was fetched before");
}

#[test]
fn cancelling_ends_git() {
    let server = Server::start(|_| {
        let mut reply = Reply::new(200, "0".repeat(100));
        reply.silent_after = Some(10);
        reply
    });
    let engine = engine();
    let cancel = engine.cancel.clone();
    let canceller = std::thread::spawn(move || {
        std::thread::park_timeout(Duration::from_millis(300));
        cancel.cancel();
    });
    let begun = Instant::now();
    let error = engine
        .get(&request(&server, "a.git", "main"))
        .expect_err("cancelled");
    assert!(error.is_cancelled(), "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    canceller.join().expect("done");
    // Git has closed its connection, or the server's thread would still hold one.
    assert_eq!(git_processes_in(engine.dir.path()), 0);
}

/// How many processes run in a folder.
fn git_processes_in(dir: &std::path::Path) -> usize {
    let processes = fs::read_dir("/proc").expect("read").flatten();
    let places = processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok());
    places.filter(|place| place.starts_with(dir)).count()
}

#[test]
fn builds_at_once_share_a_repository() {
    let all = Repositories::new();
    let repository = all.make("a.git", &[("f", "0")]);
    let server = all.serve();
    for number in 0..4 {
        repository.commit(&[("f", &number.to_string())]);
        repository.git(&["branch", &format!("b{number}")]);
    }
    let engine = engine();
    let builds = (0..4).map(|number| {
        let (sources, context) = (engine.sources.clone(), engine.context());
        let wanted = request(&server, "a.git", &format!("b{number}"));
        engine.runtime.spawn(async move {
            let pinned = sources.resolve(&wanted, &context).await?;
            sources.snapshot(&pinned, &context).await
        })
    });
    for build in builds.collect::<Vec<_>>() {
        let stack = engine
            .runtime
            .block_on(build)
            .expect("no panic")
            .expect("there");
        assert_eq!(paths(&stack), ["f"]);
    }
    fetched_repository(&engine);
}

#[test]
fn the_step_s_log_tells_what_git_does() {
    let all = Repositories::new();
    all.make("a.git", &[("f", "1")]);
    let server = all.serve();
    let engine = engine();
    engine
        .get(&request(&server, "a.git", "main"))
        .expect("there");
    let logged = engine.statuses.logged();
    assert!(
        logged.contains(&format!("From http://{}/a", server.host())),
        "{logged}"
    );
    assert_eq!(engine.statuses.completed("checking out"), 1);
}
