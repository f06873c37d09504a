//! Directories of clients at the other end of a session (rows SVC-02 to SVC-05, SES-09).

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use lamina_session::LocalSession;
use lamina_session::Session;
use lamina_snapshotter::LayerStack;
use lamina_testkit::skipped;
use lamina_types::FileKind;

use crate::client::Manner;
use crate::client::RemoteClient;
use crate::client::Script;
use crate::client::Sent;
use crate::support::Engine;
use crate::support::content_digest;
use crate::support::context;
use crate::support::directory;
use crate::support::entry;
use crate::support::list;
use crate::support::paths;

pub(crate) fn engine() -> (Engine, Arc<Mutex<Script>>) {
    let mut engine = Engine::new(LocalSession::builder());
    let client = RemoteClient::new(LocalSession::builder().build());
    let script = Arc::clone(&client.script);
    engine.session = Arc::new(client);
    (engine, script)
}

pub(crate) fn offer(script: &Mutex<Script>, files: &[Sent]) {
    let mut script = script.lock().expect("unpoisoned");
    script.files = files.to_vec();
    script.requested.clear();
}

pub(crate) fn requested(script: &Mutex<Script>) -> Vec<String> {
    script.lock().expect("unpoisoned").requested.clone()
}

fn sample() -> Vec<Sent> {
    let first = Sent::file("d/first", "linked");
    vec![
        Sent::file("a", "1"),
        Sent::dir("d").with(|stat| stat.mode = 0o1770),
        first.clone(),
        Sent::hard_link("d/second", &first),
        Sent::symlink("d/to-a", "../a"),
        Sent::new("e", FileKind::File, 0o600),
        Sent::new("pipe", FileKind::Fifo, 0o640),
        Sent::file("z", "26").with(|stat| stat.mode = 0o4755),
    ]
}

fn inode(stack: &LayerStack, path: &str) -> u64 {
    entry(stack, path).origin().inode
}

#[test]
fn everything_arrives_as_it_was_sent() {
    let (engine, script) = engine();
    offer(&script, &sample());
    let stack = engine.transfer(&context());
    assert_eq!(
        list(&stack),
        [
            "/a File 644 0:0 \"1\"",
            "/d Directory 1770 0:0",
            "/d/first File 644 0:0 \"linked\"",
            "/d/second File 644 0:0 \"linked\"",
            "/d/to-a Symlink 777 0:0 -> ../a",
            "/e File 600 0:0 \"\"",
            "/pipe Fifo 640 0:0",
            "/z File 4755 0:0 \"26\"",
        ]
    );
    assert_eq!(inode(&stack, "/d/first"), inode(&stack, "/d/second"));
    for path in paths(&stack) {
        let stat = entry(&stack, &path).stat().mtime_ns;
        assert_eq!(stat, 1_000_000_000, "{path}");
    }
    assert_eq!(requested(&script), ["a", "d/first", "z"]);
}

#[test]
fn nothing_is_sent_again_that_is_unchanged() {
    let (engine, script) = engine();
    offer(&script, &sample());
    let first = engine.transfer(&context());
    offer(&script, &sample());
    assert_eq!(engine.transfer(&context()), first);
    assert!(requested(&script).is_empty());
    // Unless the build wants it so (row SRC-13).
    offer(&script, &sample());
    let all = engine.transfer(&context().attr("local.differ", "none"));
    assert_eq!(list(&all), list(&first));
    assert_eq!(requested(&script), ["a", "d/first", "z"]);
}

#[test]
fn only_what_changed_is_requested() {
    let (engine, script) = engine();
    offer(&script, &sample());
    let first = engine.transfer(&context());
    let mut changed = sample();
    changed.remove(0);
    changed.insert(4, Sent::file("d/new", "n"));
    changed.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    let last = changed.len() - 1;
    changed[last] = Sent::file("z", "27");
    offer(&script, &changed);
    let second = engine.transfer(&context());
    assert_eq!(requested(&script), ["d/new", "z"]);
    assert_eq!(
        paths(&second),
        [
            "d", "d/first", "d/new", "d/second", "d/to-a", "e", "pipe", "z"
        ]
    );
    assert_eq!(inode(&first, "/d/first"), inode(&second, "/d/first"));
    assert_eq!(inode(&second, "/d/first"), inode(&second, "/d/second"));
    let kept: Vec<String> = list(&second)
        .into_iter()
        .filter(|line| list(&first).contains(line))
        .collect();
    assert_eq!(kept.len(), 6, "{kept:?}");
}

/// What came over, and what was taken from the layer before, is hashed by then: other data that
/// somebody writes into the layers is not seen (row FIL-25).
#[test]
fn nothing_is_read_again_to_be_hashed() {
    let (engine, script) = engine();
    offer(&script, &sample());
    engine.transfer(&context());
    let mut changed = sample();
    changed[0] = Sent::file("a", "3").with(|stat| stat.mtime_ns += 1);
    offer(&script, &changed);
    let second = engine.transfer(&context());
    for path in ["/a", "/d/first", "/d/second", "/z"] {
        let place = entry(&second, path).path_fd().expect("opens");
        let place = format!("/proc/self/fd/{}", place.as_raw_fd());
        let file = fs::File::options().write(true).open(place).expect("opens");
        file.write_all_at(b"#", 0).expect("written");
    }
    let (other, script) = self::engine();
    offer(&script, &changed);
    let expected = content_digest(&other.transfer(&context()));
    assert_eq!(content_digest(&second), expected);
}

#[test]
fn every_difference_of_metadata_is_seen() {
    type Change = fn(&mut lamina_types::Stat);
    let changes: [(&str, Change, bool); 6] = [
        ("size", |s| s.size = 2, true),
        ("time", |s| s.mtime_ns += 1, true),
        ("mode", |s| s.mode = 0o600, true),
        ("owner", |s| s.uid = 7, true),
        ("group", |s| s.gid = 7, true),
        ("nothing", |_| {}, false),
    ];
    for (name, change, differs) in changes {
        let (engine, script) = engine();
        offer(&script, &[Sent::file("a", "1")]);
        engine.transfer(&context());
        let mut changed = Sent::file("a", "1").with(change);
        if name == "size" {
            changed.data = Bytes::from_static(b"22");
        }
        offer(&script, &[changed]);
        if !rustix::process::geteuid().is_root() && matches!(name, "owner" | "group") {
            skipped("owners need root");
            continue;
        }
        engine.transfer(&context());
        assert_eq!(!requested(&script).is_empty(), differs, "{name}");
    }
}

#[test]
fn a_tail_that_is_gone_is_noticed() {
    let (engine, script) = engine();
    let all = [Sent::file("a", "1"), Sent::file("b", "2")];
    offer(&script, &all);
    engine.transfer(&context());
    offer(&script, &all[..1]);
    assert_eq!(paths(&engine.transfer(&context())), ["a"]);
    assert!(requested(&script).is_empty());
    offer(&script, &[]);
    assert!(paths(&engine.transfer(&context())).is_empty());
}

#[test]
fn an_empty_directory_is_a_layer() {
    let (engine, script) = engine();
    offer(&script, &[]);
    let stack = engine.transfer(&context());
    assert_eq!(stack.layers().len(), 1);
    assert_eq!(engine.transfer(&context()), stack);
}

#[test]
fn pieces_of_several_files_may_alternate() {
    let (engine, script) = engine();
    let data = |seed: u8| -> Bytes { (0..300_000_u32).map(|i| seed ^ i as u8).collect() };
    let files: Vec<Sent> = (0..40)
        .map(|i| Sent::file(&format!("f{i:02}"), data(i)))
        .collect();
    offer(&script, &files);
    script.lock().expect("unpoisoned").manner = Manner::Interleaved;
    let stack = engine.transfer(&context());
    for (i, file) in files.iter().enumerate() {
        let mut found = Vec::new();
        let mut opened = entry(&stack, &format!("/f{i:02}")).open().expect("opens");
        std::io::Read::read_to_end(&mut opened, &mut found).expect("read");
        assert_eq!(found, file.data, "{i}");
    }
    assert_eq!(engine.statuses.completed("transferring"), 1);
}

#[test]
fn thousands_of_files_need_few_descriptors() {
    let (engine, script) = engine();
    let mut files = Vec::new();
    for folder in 0..40 {
        files.push(Sent::dir(&format!("d{folder:03}")));
        let file = |i| Sent::file(&format!("d{folder:03}/{i:03}"), "x");
        files.extend((0..100).map(file));
    }
    offer(&script, &files);
    let stack = engine.transfer(&context());
    assert_eq!(paths(&stack).len(), files.len());
    assert_eq!(requested(&script).len(), 4000);
    offer(&script, &files);
    assert_eq!(engine.transfer(&context()), stack);
}

#[test]
fn nothing_is_left_of_a_client_that_goes_away() {
    for (manner, wanted) in [(Manner::Dies, ""), (Manner::Fails, "disk on fire")] {
        let (engine, script) = engine();
        offer(&script, &[Sent::file("a", vec![7; 100_000])]);
        script.lock().expect("unpoisoned").manner = manner;
        let error = engine.get(&context()).expect_err("gone").to_string();
        assert!(error.contains(wanted), "{error}");
        assert!(engine.config.layers.all_layers().is_empty());
        let left: Vec<_> = fs::read_dir(engine.config.layers.path())
            .expect("listed")
            .filter_map(|file| file.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with("tmp"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        // The next transfer is a full one, and works.
        script.lock().expect("unpoisoned").manner = Manner::Honest;
        assert_eq!(paths(&engine.transfer(&context())), ["a"]);
    }
}

#[test]
fn a_file_that_changes_meanwhile_is_requested_again() {
    let (engine, script) = engine();
    let growing = Sent::file("a", "longer than said").with(|stat| stat.size = 3);
    offer(&script, std::slice::from_ref(&growing));
    engine.transfer(&context());
    offer(&script, &[growing]);
    engine.transfer(&context());
    assert_eq!(requested(&script), ["a"]);
}

#[test]
fn entries_without_a_place_are_refused() {
    for (name, files) in [
        ("no parent", vec![Sent::file("d/a", "1")]),
        (
            "below a file",
            vec![Sent::file("a", "1"), Sent::file("a/b", "1")],
        ),
        (
            "below a symlink",
            vec![Sent::symlink("a", "/"), Sent::file("a/b", "1")],
        ),
        (
            "link to nothing",
            vec![Sent::hard_link("b", &Sent::file("a", "1"))],
        ),
    ] {
        let (engine, script) = engine();
        offer(&script, &files);
        engine.get(&context()).expect_err(name);
        assert!(engine.config.layers.all_layers().is_empty(), "{name}");
    }
}

#[test]
fn attributes_of_the_overlay_are_not_taken_over() {
    let (engine, script) = engine();
    let file = Sent::dir("d").with(|stat| {
        for name in ["trusted.overlay.opaque", "user.overlay.opaque", "user.kept"] {
            let name = name.as_bytes().to_vec();
            stat.xattrs.insert(name, b"y".to_vec());
        }
    });
    offer(&script, &[file]);
    let stack = engine.transfer(&context());
    let kept: Vec<Vec<u8>> = entry(&stack, "/d").stat().xattrs.keys().cloned().collect();
    assert_eq!(kept, [b"user.kept".to_vec()]);
}

#[test]
fn a_source_may_name_another_session() {
    let dir = directory(&[("theirs", "")]);
    let own = directory(&[("ours", "")]);
    let mut engine = Engine::with_context(own.path());
    let other = LocalSession::builder().local_dir("context", dir.path());
    let other: Arc<dyn Session> = Arc::new(other.build());
    let request = context().attr("local.session", other.id());
    let guard = engine.config.sessions.register(Arc::clone(&other));
    engine.sources = lamina_sources::Sources::new(engine.config.clone());
    assert_eq!(paths(&engine.transfer(&request)), ["theirs"]);
    // If that session is gone, the build's own has to do (row SRC-09).
    drop(guard);
    assert_eq!(paths(&engine.transfer(&request)), ["ours"]);
}
