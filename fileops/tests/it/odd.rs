//! Odd data survive copies (row FIL-19): names, depth, width, kinds, attributes, links.
//!
//! Each tree is copied twice: as it is, where files become links, and with another time, where all is
//! made anew. `LAMINA_TEST_LARGE=1` makes deep trees and wide directories as large as they may be in
//! earnest.

use std::io::Write;

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::RmAction;
use lamina_fileops::apply;
use lamina_snapshotter::Entry;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::FileKind;
use lamina_types::Stat;

use crate::machine::Machine;
use crate::machine::skip;
use crate::rows::rows;

/// Levels of the deep tree, more than one call could name, and of the same in earnest.
const DEPTH: [usize; 2] = [2_100, 4_096];

/// Entries of the wide directory, and of the same in earnest.
const WIDTH: [usize; 2] = [20_000, 1_000_000];

/// The time that copies get: 2001 in nanoseconds.
const TIME: i64 = 1_000_000_000_000_000_000;

/// Returns the one of two sizes that is asked for.
fn size([usual, in_earnest]: [usize; 2]) -> usize {
    match std::env::var_os("LAMINA_TEST_LARGE") {
        Some(_) => in_earnest,
        None => usual,
    }
}

/// Makes a tree in `/s`.
fn source(machine: &Machine, make: impl FnOnce(&WriteDir)) -> LayerStack {
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    make(&root.make_dir(b"s", 0o755).expect("/s"));
    drop(root);
    machine.seal(layer)
}

/// Copies `/s` to `/t` on an empty layer.
fn copy(machine: &Machine, source: &LayerStack, timestamp: Option<i64>) -> LayerStack {
    let layer = machine.on(&LayerStack::empty());
    let action = Action::Copy(CopyAction {
        source: b"/s".to_vec(),
        destination: b"/t".to_vec(),
        timestamp,
        ..CopyAction::default()
    });
    apply(&action, &layer, Some(&source.tree()), &CancelToken::new()).expect("copied");
    machine.seal(layer)
}

/// Returns the rows of a tree that do not tell `/s` from `/t`, with times left out if `timed`.
fn picture(stack: &LayerStack, timed: bool) -> Vec<String> {
    let rows = rows(&stack.tree()).into_iter();
    rows.map(|mut row| {
        if timed {
            row["mtime"] = "given".into();
        }
        row.to_string()
            .replace("\"/t", "\"/s")
            .replace("\"t/", "\"s/")
    })
    .collect()
}

fn survives(machine: &Machine, source: &LayerStack) {
    for timestamp in [None, Some(TIME)] {
        let copied = copy(machine, source, timestamp);
        let timed = timestamp.is_some();
        assert_eq!(
            picture(&copied, timed),
            picture(source, timed),
            "{timestamp:?}"
        );
    }
}

fn file(dir: &WriteDir, name: &[u8], data: &[u8]) {
    let mut file = dir.create_file(name, 0o644).expect("a file");
    file.write_all(data).expect("data");
}

fn child(stack: &LayerStack, top: &[u8], name: &[u8]) -> Entry {
    let root = stack.tree().root().expect("root");
    root.child(top)
        .and_then(|dir| dir.child(name))
        .expect("a child")
}

#[test]
fn names_of_any_bytes() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let long = [b'n'; 255];
    let names: [&[u8]; 8] = [
        b"\xff\xfe",
        b"\xc3\x28",
        b"a\nb",
        b"\n",
        b" ",
        b"*?[\\",
        b"-rf",
        &long,
    ];
    let source = source(&machine, |dir| {
        for name in names {
            file(dir, name, name);
            let inner = dir.make_dir(&[b"d", &name[..name.len().min(254)]].concat(), 0o711);
            drop(inner.expect("a directory"));
        }
    });
    for timestamp in [None, Some(TIME)] {
        let copied = copy(&machine, &source, timestamp);
        for name in names {
            let entry = child(&copied, b"t", name);
            let data = std::io::read_to_string(entry.open().expect("data"));
            assert_eq!(data.ok(), String::from_utf8(name.to_vec()).ok(), "{name:?}");
        }
        let all = |stack: &LayerStack, top| {
            let root = stack.tree().root().expect("root");
            root.child(top)
                .and_then(|dir| dir.read_dir())
                .expect("names")
        };
        assert_eq!(all(&copied, &b"t"[..]), all(&source, &b"s"[..]));
    }
}

#[test]
fn kinds_and_modes() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let source = source(&machine, |dir| {
        for (name, kind, mode, device) in [
            ("fifo", FileKind::Fifo, 0o620, (0, 0)),
            ("socket", FileKind::Socket, 0o755, (0, 0)),
            ("char", FileKind::CharDevice, 0o666, (1, 3)),
            ("block", FileKind::BlockDevice, 0o660, (7, 200)),
            ("large", FileKind::CharDevice, 0o600, (511, 1_048_575)),
        ] {
            let mut stat = Stat::new(kind, mode);
            (stat.device.major, stat.device.minor) = device;
            dir.make_node(name.as_bytes(), &stat).expect(name);
        }
        for (name, mode) in [
            ("u", 0o4755),
            ("g", 0o2755),
            ("t", 0o1644),
            ("all", 0o7777),
            ("no", 0),
        ] {
            file(dir, name.as_bytes(), b"x");
            let change = MetadataChange {
                owner: Some((1000, 1001)),
                mode: Some(mode),
                ..MetadataChange::default()
            };
            dir.set_metadata(name.as_bytes(), &change).expect(name);
        }
    });
    survives(&machine, &source);
}

/// Returns the value that gives a program `cap_net_raw+ep`.
pub(crate) fn capability() -> [u8; 20] {
    let mut value = [0; 20];
    // Version 2, effective; then the permitted bits of the first 32 capabilities.
    (value[0], value[3]) = (1, 2);
    value[5] = 0x20;
    value
}

/// Returns the access list `user::rw-,user:5:r--,group::r--,mask::r--,other::---`.
fn access_list() -> Vec<u8> {
    const VERSION: [u8; 4] = [2, 0, 0, 0];
    let entry = |tag: u8, bits: u8, id: u32| {
        let id = id.to_le_bytes();
        [tag, 0, bits, 0, id[0], id[1], id[2], id[3]]
    };
    let none = u32::MAX;
    let entries = [
        entry(1, 6, none),
        entry(2, 4, 5),
        entry(4, 4, none),
        entry(0x10, 4, none),
        entry(0x20, 0, none),
    ];
    [&VERSION[..], entries.as_flattened()].concat()
}

#[test]
fn attributes_capabilities_and_access_lists() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let (capability, list) = (capability(), access_list());
    let attributes: [(&str, &[u8]); 4] = [
        ("user.text", b"text"),
        ("user.bytes", b"\0\xff\n"),
        ("security.capability", &capability),
        ("system.posix_acl_access", &list),
    ];
    let mut refused = Vec::new();
    let source = source(&machine, |dir| {
        for (name, value) in attributes {
            file(dir, name.as_bytes(), b"x");
            let change = MetadataChange {
                mode: Some(0o640),
                xattrs: Some([(name.as_bytes().to_vec(), value.to_vec())].into()),
                ..MetadataChange::default()
            };
            if dir.set_metadata(name.as_bytes(), &change).is_err() {
                refused.push(name);
            }
        }
    });
    survives(&machine, &source);
    let copied = copy(&machine, &source, Some(TIME));
    for (name, value) in attributes {
        if refused.contains(&name) {
            skip::<()>(&format!("the file system has no {name}"));
            continue;
        }
        for (stack, top) in [(&source, b"s"), (&copied, b"t")] {
            let found = child(stack, top, name.as_bytes()).stat().xattrs.clone();
            assert_eq!(found, [(name.as_bytes().to_vec(), value.to_vec())].into());
        }
    }
}

#[test]
fn hard_links_across_directories() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let source = source(&machine, |dir| {
        file(dir, b"first", b"data");
        let first = dir.lookup(b"first").expect("found").expect("first");
        for index in 0..100 {
            let inner = dir.make_dir(format!("d{index:02}").as_bytes(), 0o755);
            inner
                .expect("a directory")
                .link_from(b"again", &first)
                .expect("a link");
        }
    });
    survives(&machine, &source);
}

#[test]
fn deep_trees() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let depth = size(DEPTH);
    let source = source(&machine, |dir| {
        let mut dir = dir.clone();
        for _ in 0..depth {
            dir = dir.make_dir(b"d", 0o755).expect("d");
        }
        file(&dir, b"f", b"bottom");
    });
    for timestamp in [None, Some(TIME)] {
        let copied = copy(&machine, &source, timestamp);
        let mut entry = copied.tree().root().expect("root").child(b"t").expect("/t");
        for _ in 0..depth {
            entry = entry.child(b"d").expect("d");
        }
        let bottom = entry.child(b"f").expect("f").open().expect("data");
        assert_eq!(std::io::read_to_string(bottom).expect("data"), "bottom");
        let layer = machine.on(&copied);
        let action = Action::Rm(RmAction {
            path: b"/t".to_vec(),
            ..RmAction::default()
        });
        apply(&action, &layer, None, &CancelToken::new()).expect("removed");
    }
}

#[test]
fn wide_directories() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let width = size(WIDTH);
    let source = source(&machine, |dir| {
        for index in 0..width {
            drop(
                dir.create_file(format!("{index}").as_bytes(), 0o644)
                    .expect("a file"),
            );
        }
    });
    for timestamp in [None, Some(TIME)] {
        let copied = copy(&machine, &source, timestamp).tree();
        let dir = copied.root().expect("root").child(b"t").expect("/t");
        assert_eq!(dir.read_dir().expect("names").len(), width);
        let last = dir
            .child(format!("{}", width - 1).as_bytes())
            .expect("a file");
        let seconds = last.stat().mtime_ns / 1_000_000_000;
        assert_eq!(timestamp.is_some(), seconds == 1_000_000_000);
    }
}
