//! The memory of copies: a tree of ten million entries must be nothing special.
//!
//! Two trees are copied, each by a process of its own; what the larger one takes more is what its
//! entries cost. `LAMINA_TEST_ENTRIES` asks for another size of the larger tree.

use std::path::Path;
use std::process::Command;

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::apply;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::XattrNamespace;
use lamina_testkit::namespace;
use lamina_types::CancelToken;

use crate::copier::given_away;
use crate::machine::Machine;
use crate::machine::skip;

/// Says to the process inside where the store is.
const STORE: &str = "LAMINA_TEST_MEMORY_STORE";
/// Says to it whether data is copied.
const GIVEN_AWAY: &str = "LAMINA_TEST_MEMORY_GIVEN_AWAY";
/// Entries of the larger tree.
const ENTRIES: &str = "LAMINA_TEST_ENTRIES";

/// Files of each directory.
const FILES: usize = 100;
/// What an entry may cost: ten million of them 400 MB.
const LIMIT_BYTES: usize = 40;

#[test]
fn entries_cost_little() {
    if std::env::var_os(STORE).is_some() || namespace::inside().is_some() {
        return;
    }
    let entries = std::env::var(ENTRIES)
        .ok()
        .and_then(|text| text.parse().ok());
    let (small, large) = (10_000, entries.unwrap_or(110_000));
    for (name, shared, given_away) in [
        ("linked", false, false),
        ("given away", false, true),
        ("shared with another layer and given away", true, true),
    ] {
        let growth = |entries| growth(entries, shared, given_away);
        let (Some(less), Some(more)) = (growth(small), growth(large)) else {
            return;
        };
        let each = more.saturating_sub(less) / (large - small);
        let line = format!("{name}: {less} and {more} bytes, {each} for an entry");
        assert!(each <= LIMIT_BYTES, "{line}");
    }
}

/// Returns by how much the memory of a process grows that copies a tree of `entries` files, of which
/// each may have a name in another layer too.
fn growth(entries: usize, shared: bool, given_away: bool) -> Option<usize> {
    let machine = Machine::new()?;
    let tree = make_tree(&machine, entries);
    if shared {
        let layer = machine.on(&LayerStack::empty());
        let copied = apply(
            &everything(),
            &layer,
            Some(&tree.tree()),
            &CancelToken::new(),
        );
        copied.expect("linked");
        drop(machine.seal(layer));
    }
    let mut copier = Command::new(std::env::current_exe().expect("a program"));
    copier.args(["--exact", "memory::a_tree_is_copied", "--nocapture"]);
    copier.env(STORE, machine.folder.path());
    if given_away {
        copier.env(GIVEN_AWAY, "1");
    }
    let output = copier.output().expect("starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let grown = said.lines().find_map(|line| line.split_once("grown by "));
    let (_, bytes) = grown.expect("says how much");
    Some(bytes.trim().parse().expect("a number"))
}

fn make_tree(machine: &Machine, entries: usize) -> LayerStack {
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    for number in 0..entries / FILES {
        let dir = root.make_dir(number.to_string().as_bytes(), 0o755);
        let dir = dir.expect("a directory");
        for file in 0..FILES {
            drop(
                dir.create_file(file.to_string().as_bytes(), 0o644)
                    .expect("a file"),
            );
        }
    }
    drop(root);
    machine.seal(layer)
}

/// A copy that can be made by link.
fn everything() -> Action {
    Action::Copy(CopyAction {
        source: b"/".to_vec(),
        destination: b"/out".to_vec(),
        create_parents: true,
        directory_contents: true,
        ..CopyAction::default()
    })
}

#[test]
fn a_tree_is_copied() {
    let Some(folder) = std::env::var_os(STORE) else {
        return;
    };
    let store =
        SnapshotStore::open(Path::new(&folder), XattrNamespace::Trusted).expect("the store");
    // The last layer: the one before it is there only to share its files.
    let source = LayerStack::new(store.all_layers().pop());
    let layer = store.prepare(&LayerStack::empty()).expect("a layer");
    let action = match std::env::var_os(GIVEN_AWAY) {
        Some(_) => given_away(),
        None => everything(),
    };
    let before = memory("VmRSS:").expect("proc");
    let cancel = CancelToken::new();
    apply(&action, &layer, Some(&source.tree()), &cancel).expect("copied");
    drop(layer.commit(&cancel).expect("sealed"));
    let Some(peak) = memory("VmHWM:") else {
        skip::<()>("the kernel does not say how much memory was used");
        return;
    };
    report(&format!("grown by {}\n", peak.saturating_sub(before)));
}

/// Returns a figure of this process in bytes.
fn memory(name: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn report(text: &str) {
    use std::io::Write as _;
    std::io::stdout()
        .write_all(text.as_bytes())
        .expect("standard output");
}
