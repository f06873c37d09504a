//! The figure of copies by link: 50,000 files of 0.2 to 8 KB in 1,000 directories.

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::apply;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;

use crate::machine::Machine;

const FILES_PER_DIRECTORY: usize = 50;

/// A tenth of the figure's size in builds without optimisation, where the time means nothing.
const DIRECTORIES: usize = 1000;

/// The most that the copy may take in an optimised build.
const LIMIT: Duration = Duration::from_millis(1500);

#[test]
fn fifty_thousand_files_are_copied_by_link() {
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
    let start = Instant::now();
    apply(&action, &layer, Some(&source.tree()), &CancelToken::new()).expect("copy");
    let copied = start.elapsed();
    drop(machine.seal(layer));
    let sealed = start.elapsed();
    let files = DIRECTORIES * FILES_PER_DIRECTORY;
    let line = format!("{files} files: copied in {copied:?}, sealed after {sealed:?}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error");
    assert!(cfg!(debug_assertions) || sealed < LIMIT, "{sealed:?}");
    // What is new is directories and the manifest; no file takes a block.
    let added = blocks(machine.folder.path()) - before;
    assert!(
        added <= DIRECTORIES as u64 * 8 + 64,
        "{added} blocks of 512 bytes"
    );
}

#[test]
fn matches_of_a_pattern_cost_little_each() {
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
    let start = Instant::now();
    apply(&action, &layer, Some(&source.tree()), &CancelToken::new()).expect("copy");
    let taken = start.elapsed();
    let files = DIRECTORIES * FILES_PER_DIRECTORY;
    let line = format!("{files} matches: copied in {taken:?}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error");
    assert!(cfg!(debug_assertions) || taken < 2 * LIMIT, "{taken:?}");
    // Of many files of one name the last in path order stays.
    let copied = layer.tree().root().expect("root");
    let names = copied.child(b"out").expect("/out").read_dir();
    assert_eq!(names.expect("/out").len(), FILES_PER_DIRECTORY);
}

fn many_files(machine: &Machine) -> LayerStack {
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    let data = [b'x'; 8192];
    for index in 0..DIRECTORIES {
        let dir = root
            .make_dir(format!("d{index}").as_bytes(), 0o755)
            .expect("directory");
        for file in 0..FILES_PER_DIRECTORY {
            let length = 200 + (index * 7919 + file * 104_729) % 7900;
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
