//! What a pattern matches is copied by all threads, with the result of one copy after the other
//! (row FIL-14).

use std::collections::BTreeMap;
use std::io::Read;
use std::io::Write;

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::apply;
use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Tree;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;

use crate::copies::copy;
use crate::copies::find;
use crate::machine::Machine;

/// Names in the directory; more than are looked up at once.
const NAMES: usize = 700;

/// Every so many of them is a directory.
const DIRECTORY_EVERY: usize = 61;

fn name(number: usize) -> String {
    format!("n{number:03}")
}

fn write(dir: &WriteDir, name: &str, data: &str) {
    let mut file = dir.create_file(name.as_bytes(), 0o644).expect(name);
    file.write_all(data.as_bytes()).expect(name);
}

/// Makes `/s` with files and directories; each directory holds files that are named as some of its
/// siblings are, before it and behind it.
fn siblings(machine: &Machine) -> LayerStack {
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    let top = root.make_dir(b"s", 0o755).expect("/s");
    for number in 0..NAMES {
        if number % DIRECTORY_EVERY != DIRECTORY_EVERY - 1 {
            write(&top, &name(number), &format!("file {number}"));
            continue;
        }
        let dir = top.make_dir(name(number).as_bytes(), 0o755);
        let dir = dir.expect("a directory");
        for other in [number - 5, number - 1, number + 1, number + 40] {
            write(&dir, &name(other), &format!("from {number}"));
        }
    }
    drop((top, root));
    machine.seal(layer)
}

fn run(layer: &ActiveLayer, source: &Tree, copy: CopyAction) {
    let copied = apply(
        &Action::Copy(copy),
        layer,
        Some(source),
        &CancelToken::new(),
    );
    copied.expect("copied");
}

/// Returns the files in `/out` with their data.
fn files(layer: &ActiveLayer) -> BTreeMap<Vec<u8>, String> {
    let out = find(&layer.tree(), "/out");
    let names = out.read_dir().expect("/out").into_iter();
    let data = |name: &[u8]| {
        let mut text = String::new();
        let mut file = out.child(name).expect("listed").open().expect("a file");
        file.read_to_string(&mut text).expect("read");
        text
    };
    names.map(|name| (name.clone(), data(&name))).collect()
}

#[test]
fn matches_are_copied_as_if_one_after_the_other() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let source = siblings(&machine).tree();
    let wanted = machine.on(&LayerStack::empty());
    for number in 0..NAMES {
        let from = format!("/s/{}", name(number));
        run(&wanted, &source, copy(&from, "/out/"));
    }
    let wanted = files(&wanted);
    let count = |start: &str| {
        wanted
            .values()
            .filter(|data| data.starts_with(start))
            .count()
    };
    assert!(count("file") > NAMES / 2 && count("from") > 20);
    for threads in [1, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let layer = machine.on(&LayerStack::empty());
        let pool = pool.expect("threads");
        pool.install(|| run(&layer, &source, copy("/s/*", "/out/")));
        assert!(files(&layer) == wanted, "{threads} threads");
    }
}
