//! Second transfers cost what has changed (rows SRC-12, SRC-13, SRC-15, SVC-03).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use lamina_session::LocalSession;
use lamina_snapshotter::LayerStack;
use lamina_sources::Sources;

use crate::support::Engine;
use crate::support::content_digest;
use crate::support::context;
use crate::support::directory;
use crate::support::entry;
use crate::support::let_the_clock_tick;
use crate::support::list;
use crate::support::write;

fn set_modified(path: &Path, seconds: u64) {
    fs::File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)))
        .expect("set");
}

fn inode(stack: &LayerStack, path: &str) -> u64 {
    entry(stack, path).origin().inode
}

#[test]
fn an_unchanged_directory_gives_the_same_layer() {
    let dir = directory(&[("a", "1"), ("d/b", "2")]);
    let_the_clock_tick();
    let mut engine = Engine::with_context(dir.path());
    let first = engine.transfer(&context());
    assert_eq!(engine.sources.retained_layers(), first.ids());
    assert_eq!(engine.transfer(&context()), first);
    // Also in another process, and in another session.
    engine.sources = Sources::new(engine.config.clone());
    let session = LocalSession::builder().local_dir("context", dir.path());
    engine.session = std::sync::Arc::new(session.build());
    assert_eq!(engine.transfer(&context()), first);
    // Patterns that choose the same files, too.
    let request = context().attr("local.excludepatterns", r#"["nothing"]"#);
    assert_eq!(engine.transfer(&request), first);
}

#[test]
fn only_what_changed_is_copied() {
    let dir = directory(&[
        ("same", "1"),
        ("changed", "2"),
        ("gone", "3"),
        ("d/same", "4"),
    ]);
    let_the_clock_tick();
    let engine = Engine::with_context(dir.path());
    let first = engine.transfer(&context());
    write(dir.path(), "changed", "other");
    write(dir.path(), "d/new", "5");
    fs::remove_file(dir.path().join("gone")).expect("removed");
    let second = engine.transfer(&context());
    assert_eq!(
        list(&second),
        [
            "/changed File 644 0:0 \"other\"",
            "/d Directory 755 0:0",
            "/d/new File 644 0:0 \"5\"",
            "/d/same File 644 0:0 \"4\"",
            "/same File 644 0:0 \"1\"",
        ]
    );
    for path in ["/same", "/d/same"] {
        assert_eq!(inode(&first, path), inode(&second, path), "{path}");
    }
    assert_ne!(inode(&first, "/changed"), inode(&second, "/changed"));
    assert_eq!(list(&first)[0], "/changed File 644 0:0 \"2\"");
}

#[test]
fn a_change_that_keeps_size_and_time_is_noticed() {
    let dir = directory(&[("file", "one")]);
    let path = dir.path().join("file");
    set_modified(&path, 1_000_000_000);
    let_the_clock_tick();
    let engine = Engine::with_context(dir.path());
    let first = engine.transfer(&context());
    fs::write(&path, "two").expect("written");
    set_modified(&path, 1_000_000_000);
    let second = engine.transfer(&context());
    assert!(list(&second)[0].ends_with("\"two\""));
    assert_ne!(content_digest(&first), content_digest(&second));
}

#[test]
fn a_change_right_after_the_transfer_is_noticed() {
    // Within one tick of the file system's clock, so nothing may be taken from the first transfer.
    let dir = directory(&[("file", "0")]);
    let engine = Engine::with_context(dir.path());
    for round in 1..50 {
        engine.transfer(&context());
        fs::write(dir.path().join("file"), format!("{round}")).expect("written");
        let stack = engine.transfer(&context());
        assert!(
            list(&stack)[0].ends_with(&format!("\"{round}\"")),
            "{round}"
        );
    }
}

#[test]
fn a_touched_file_has_its_new_time_and_its_old_digest() {
    let dir = directory(&[("file", "data")]);
    let path = dir.path().join("file");
    set_modified(&path, 1_000_000_000);
    let_the_clock_tick();
    let engine = Engine::with_context(dir.path());
    let first = engine.transfer(&context());
    set_modified(&path, 1_500_000_000);
    let second = engine.transfer(&context());
    let mtime = entry(&second, "/file").stat().mtime_ns;
    assert_eq!(mtime, 1_500_000_000_000_000_000);
    assert_eq!(content_digest(&first), content_digest(&second));
}

#[test]
fn changed_metadata_is_transferred() {
    let dir = directory(&[("file", "data")]);
    let_the_clock_tick();
    let engine = Engine::with_context(dir.path());
    let first = engine.transfer(&context());
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(dir.path().join("file"), mode).expect("changed");
    let second = engine.transfer(&context());
    assert_eq!(list(&second), ["/file File 700 0:0 \"data\""]);
    assert_eq!(list(&first), ["/file File 644 0:0 \"data\""]);
}

#[test]
fn transfers_that_must_not_build_on_each_other_do_not() {
    let dir = directory(&[("file", "data")]);
    let_the_clock_tick();
    let engine = Engine::with_context(dir.path());
    let first = engine.transfer(&context());
    for (attr, value) in [("local.differ", "none"), ("local.sharedkeyhint", "other")] {
        let other = engine.transfer(&context().attr(attr, value));
        assert_ne!(inode(&first, "/file"), inode(&other, "/file"), "{attr}");
        assert_eq!(list(&first), list(&other), "{attr}");
    }
}

#[test]
fn a_lost_layer_or_index_means_a_full_transfer() {
    let dir = directory(&[("file", "data")]);
    let_the_clock_tick();
    let engine = Engine::with_context(dir.path());
    let wanted = list(&engine.transfer(&context()));
    engine.config.layers.sweep(&|_| false).expect("swept");
    assert_eq!(list(&engine.transfer(&context())), wanted);
    fs::remove_dir_all(engine.dir.path().join("sources")).expect("removed");
    assert_eq!(list(&engine.transfer(&context())), wanted);
}

#[test]
fn hard_links_survive_a_second_transfer() {
    let dir = directory(&[("a", "data"), ("other", "1")]);
    fs::hard_link(dir.path().join("a"), dir.path().join("b")).expect("linked");
    let_the_clock_tick();
    let engine = Engine::with_context(dir.path());
    let first = engine.transfer(&context());
    write(dir.path(), "other", "22");
    let second = engine.transfer(&context());
    assert_eq!(inode(&second, "/a"), inode(&second, "/b"));
    assert_eq!(inode(&first, "/a"), inode(&second, "/a"));
    assert_eq!(list(&second).len(), 3);
}

/// Whatever happens between two transfers, the second is as if it were the first.
#[test]
fn random_changes_end_in_what_a_full_transfer_gives() {
    for seed in 0..12u64 {
        let mut state = seed;
        let mut random = |limit: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % limit
        };
        let dir = directory(&[]);
        let engine = Engine::with_context(dir.path());
        for round in 0..8 {
            for _ in 0..6 {
                let path = dir.path().join(format!("d{}/f{}", random(3), random(4)));
                fs::create_dir_all(path.parent().expect("below")).expect("made");
                match random(5) {
                    0 => drop(fs::remove_file(&path)),
                    1 => drop(fs::hard_link(dir.path().join("d0/f0"), &path)),
                    2 => drop(fs::remove_dir_all(path.parent().expect("below"))),
                    _ => drop(fs::write(&path, format!("{}", random(100)))),
                }
            }
            if random(2) == 0 {
                let_the_clock_tick();
            }
            let incremental = engine.transfer(&context());
            let full = engine.transfer(&context().attr("local.differ", "none"));
            assert_eq!(list(&incremental), list(&full), "seed {seed} round {round}");
            let digests = (content_digest(&incremental), content_digest(&full));
            assert_eq!(digests.0, digests.1, "seed {seed} round {round}");
        }
    }
}
