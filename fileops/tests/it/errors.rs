//! Errors are the same from run to run, whatever the number of threads: of many the first in path order.

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::apply;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;

use crate::machine::Machine;

/// How often each copy is tried with each number of threads.
const REPEATS: usize = 15;

/// Directories of either tree, and files in each of them.
const DIRECTORIES: usize = 24;
const FILES: usize = 40;

/// Makes `DIRECTORIES` directories with `FILES` entries; `is_dir` says which of them are directories.
fn tree(machine: &Machine, top: &str, is_dir: impl Fn(usize, usize) -> bool) -> LayerStack {
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    let top = root.make_dir(top.as_bytes(), 0o755).expect(top);
    for at in 0..DIRECTORIES {
        let name = format!("d{at:02}");
        let dir = top.make_dir(name.as_bytes(), 0o755).expect("a directory");
        for entry in 0..FILES {
            let name = format!("f{entry:02}");
            match is_dir(at, entry) {
                true => drop(dir.make_dir(name.as_bytes(), 0o755).expect("a directory")),
                false => drop(dir.create_file(name.as_bytes(), 0o644).expect("a file")),
            }
        }
    }
    drop((top, root));
    machine.seal(layer)
}

/// Runs `action` again and again with 1, 2 and 8 threads; returns the one error that it gives.
fn error(machine: &Machine, source: &LayerStack, lower: &LayerStack, action: &Action) -> String {
    let mut errors = Vec::new();
    for threads in [1, 2, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.expect("threads");
        for _ in 0..REPEATS {
            let layer = machine.on(lower);
            let run = || apply(action, &layer, Some(&source.tree()), &CancelToken::new());
            errors.push(pool.install(run).expect_err("conflicts").to_string());
        }
    }
    errors.dedup();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors.remove(0)
}

/// Source, destination, whether contents are copied, and how the error ends.
const ROWS: [(&str, &str, bool, &str); 6] = [
    (
        "/s",
        "/out",
        true,
        "cannot copy to non-directory: /out/d07/f00",
    ),
    (
        "/s/d1*",
        "/out",
        false,
        "cannot copy to non-directory: /out/d10/f00",
    ),
    (
        "/s/*/f?1",
        "/out/d08/",
        false,
        "cannot replace to directory /out/d08/f01 with file",
    ),
    (
        "/s/d02",
        "/out/d09/f00",
        true,
        "cannot copy to non-directory: /out/d09/f00",
    ),
    (
        "/s/d02",
        "/out/d09/f00",
        false,
        "mkdir /out/d09/f00: not a directory",
    ),
    (
        "/none",
        "/out",
        true,
        "lstat /none: no such file or directory",
    ),
];

#[test]
fn of_conflicts_in_many_directories_the_first_is_told() {
    let Some(machine) = Machine::new() else {
        return;
    };
    // From the eighth directory on: files where directories would go, and directories for files.
    let source = tree(&machine, "s", |_, entry| entry % 3 == 0);
    let lower = tree(&machine, "out", |at, entry| (entry % 3 == 0) == (at < 7));
    for (from, to, directory_contents, wanted) in ROWS {
        let action = Action::Copy(CopyAction {
            source: from.into(),
            destination: to.into(),
            create_parents: true,
            directory_contents,
            allow_wildcard: true,
            ..CopyAction::default()
        });
        let wanted = format!("copy {from} to {to}: {wanted}");
        assert_eq!(error(&machine, &source, &lower, &action), wanted);
    }
}
