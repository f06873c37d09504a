//! `COPY . /app` of a context of 50,000 files, one of which has changed: that one is new, and no file is
//! read for the copy or for its content key (rows FIL-19, FIL-25).
//!
//! That nothing is read is proven by foul play: other data is written into all files of the context, and
//! whoever read one of them would see it.

use std::io::Write;
use std::ops::Range;

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::apply;
use lamina_snapshotter::FileDigester;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::Selection;
use lamina_snapshotter::WriteDir;
use lamina_testkit::layers;
use lamina_types::CancelToken;
use lamina_types::Digest;

use crate::machine::Machine;

const DIRECTORIES: usize = 1_000;
const FILES_PER_DIRECTORY: usize = 50;

const MODE: u32 = 0o644;

/// Writes a file as transfers do: hashed on the way.
fn write(dir: &WriteDir, name: &[u8], data: &[u8]) {
    let change = MetadataChange {
        mtime_ns: Some(5),
        ..MetadataChange::default()
    };
    let mut digester = FileDigester::new(MODE, data.len() as u64, &change);
    let mut file = dir.create_file(name, MODE).expect("a file");
    file.write_all(data).expect("data");
    digester.update(data);
    dir.finish_file(&file, &change, digester).expect("finished");
}

/// A context; all files of `before` but one are taken over from it.
fn context(
    machine: &Machine,
    directories: Range<usize>,
    before: Option<&LayerStack>,
) -> LayerStack {
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    let old = before.map(|stack| stack.tree().root().expect("root"));
    for directory in directories {
        let name = format!("d{directory}").into_bytes();
        let dir = root.make_dir(&name, 0o755).expect("a directory");
        let old = old.as_ref().map(|old| old.child(&name).expect("there"));
        for number in 0..FILES_PER_DIRECTORY {
            let name = format!("f{number}").into_bytes();
            match &old {
                Some(old) if (directory, number) != (500, 7) => {
                    let file = old.child(&name).expect("there");
                    dir.link_from(&name, &file).expect("a link");
                }
                Some(_) => write(&dir, &name, b"changed"),
                None => write(&dir, &name, &name),
            }
        }
    }
    drop(root);
    machine.seal(layer)
}

fn copied(machine: &Machine, context: &LayerStack) -> LayerStack {
    let layer = machine.on(&LayerStack::empty());
    let action = Action::Copy(CopyAction {
        source: b"/".to_vec(),
        destination: b"/app".to_vec(),
        create_parents: true,
        directory_contents: true,
        ..CopyAction::default()
    });
    let cancel = CancelToken::new();
    apply(&action, &layer, Some(&context.tree()), &cancel).expect("copied");
    machine.seal(layer)
}

fn digest(stack: &LayerStack, path: &str) -> Digest {
    let digest = stack.digest(&Selection::of_path(path), &CancelToken::new());
    digest.expect("digested")
}

#[test]
fn of_a_large_context_only_the_changed_file_is_new() {
    let (Some(machine), Some(other)) = (Machine::new(), Machine::new()) else {
        return;
    };
    let first = context(&machine, 0..DIRECTORIES, None);
    let second = context(&machine, 0..DIRECTORIES, Some(&first));
    layers::each_file(&second, &mut layers::tamper);
    let app = copied(&machine, &second);
    let (before, after) = (layers::inodes(&first), layers::inodes(&app));
    assert_eq!(after.len(), DIRECTORIES * FILES_PER_DIRECTORY);
    assert_eq!(after.difference(&before).count(), 1);
    assert!(
        after.is_subset(&layers::inodes(&second)),
        "a file was copied"
    );
    // Of the directory with the changed file, made for the first time in another store.
    let fresh = context(&other, 500..501, None);
    let fresh = context(&other, 500..501, Some(&fresh));
    for path in ["/d500", "/d500/f7"] {
        assert_eq!(digest(&second, path), digest(&fresh, path), "{path}");
        let app_path = format!("/app{path}");
        let app_digest = digest(&copied(&other, &fresh), &app_path);
        assert_eq!(digest(&app, &app_path), app_digest, "{app_path}");
    }
}
