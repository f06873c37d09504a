//! 50,000 files of 0.2 to 8 KB in 1,000 directories. How long their copies take, `scripts/bench copies` says.

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::apply;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;

use crate::machine::Machine;
use crate::machine::one_in;

const FILES_PER_DIRECTORY: usize = 50;

/// Fewer where everything is emulated.
fn directories() -> usize {
    1000 / one_in()
}

#[test]
fn copies_by_link_take_only_directories() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let source = many_files(&machine);
    let before = blocks(machine.folder.path());
    let layer = machine.on(&LayerStack::empty());
    let action = Action::Copy(CopyAction {
        source: b"/".to_vec(),
        destination: b"/out/".to_vec(),
        create_parents: true,
        directory_contents: true,
        ..CopyAction::default()
    });
    apply(&action, &layer, Some(&source.tree()), &CancelToken::new()).expect("copy");
    drop(machine.seal(layer));
    // What is new is directories and the manifest; no file takes a block.
    let added = blocks(machine.folder.path()) - before;
    assert!(
        added <= directories() as u64 * 8 + 64,
        "{added} blocks of 512 bytes"
    );
}

#[test]
fn of_many_matches_with_one_name_the_last_stays() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let source = many_files(&machine);
    let layer = machine.on(&LayerStack::empty());
    let action = Action::Copy(CopyAction {
        source: b"/d*/f*".to_vec(),
        destination: b"/out/".to_vec(),
        create_parents: true,
        allow_wildcard: true,
        ..CopyAction::default()
    });
    apply(&action, &layer, Some(&source.tree()), &CancelToken::new()).expect("copy");
    let copied = layer.tree().root().expect("root");
    let out = copied.child(b"out").expect("/out");
    assert_eq!(out.read_dir().expect("/out").len(), FILES_PER_DIRECTORY);
    let kept = out.child(b"f7").expect("/out/f7");
    // In the order of paths, the greatest number of nines is last.
    assert_eq!(kept.stat().size, length(directories() - 1, 7) as u64);
}

fn length(directory: usize, file: usize) -> usize {
    200 + (directory * 7919 + file * 104_729) % 7900
}

fn many_files(machine: &Machine) -> LayerStack {
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    let data = [b'x'; 8192];
    for index in 0..directories() {
        let dir = root
            .make_dir(format!("d{index}").as_bytes(), 0o755)
            .expect("directory");
        for file in 0..FILES_PER_DIRECTORY {
            let length = length(index, file);
            let mut made = dir
                .create_file(format!("f{file}").as_bytes(), 0o644)
                .expect("file");
            made.write_all(&data[..length]).expect("data");
        }
    }
    drop(root);
    machine.seal(layer)
}

/// Counts the blocks of everything below `path`, each inode once.
fn blocks(path: &Path) -> u64 {
    let mut seen = HashSet::new();
    let mut left = vec![path.to_owned()];
    let mut sum = 0;
    while let Some(path) = left.pop() {
        let found = std::fs::symlink_metadata(&path).expect("metadata");
        if seen.insert((found.dev(), found.ino())) {
            sum += found.blocks();
        }
        if found.is_dir() {
            let children = std::fs::read_dir(&path).expect("directory");
            left.extend(children.map(|child| child.expect("child").path()));
        }
    }
    sum
}
