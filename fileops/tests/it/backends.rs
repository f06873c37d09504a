//! The stacks that Merge and Diff make, as processes see them on every kind of mount (rows OPS-01 to
//! OPS-07).
//!
//! What the stacks should show is what BuildKit made of the same definitions; `goldens` checks that our
//! own reader shows it, and this that every mount does.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lamina_snapshotter::Backend;
use lamina_snapshotter::DetachedMount;
use lamina_snapshotter::Entry;
use lamina_snapshotter::LayerStack;
use lamina_types::FileKind;

use crate::goldens::FIRST;
use crate::goldens::FURTHER;
use crate::goldens::Set;
use crate::machine::Machine;
use crate::machine::skip;
use crate::ops::Ops;

/// What a mount and our reader must agree on: mode, owner, time, and target or length.
type Listing = BTreeMap<String, (u32, u32, u32, i128, Vec<u8>)>;

#[test]
fn merges_and_differences_show_the_same_on_every_mount() {
    show_the_same(&FIRST, "mergediff");
}

#[test]
fn further_merges_and_differences_show_the_same_on_every_mount() {
    show_the_same(&FURTHER, "layers");
}

/// Compares the stacks of a group's results.
fn show_the_same(set: &Set, group: &str) {
    let Some(machine) = Machine::new() else {
        return;
    };
    let store = machine.store.clone();
    let ops = Ops::new(machine, set.ops());
    let stacks: Vec<(String, LayerStack)> = set
        .cases()
        .iter()
        .filter(|case| case["group"] == group && case["tree"].is_array())
        .map(|case| {
            let ops_of_case = case["ops"].as_array().expect("ops");
            let terminal = ops_of_case.last().expect("an op").as_str().expect("text");
            let name = case["name"].as_str().expect("a name").to_owned();
            (name, ops.solve(terminal).expect("solved"))
        })
        .collect();
    assert!(stacks.len() > 150, "only {} cases", stacks.len());
    for backend in [Backend::Overlay, Backend::Fuse, Backend::Copy] {
        let chosen = match lamina_snapshotter::choose(&store, Some(backend)) {
            Ok(chosen) => chosen,
            Err(error) => {
                skip::<()>(&error.to_string());
                continue;
            }
        };
        for (name, stack) in &stacks {
            let mount = chosen.mounter.mount_view(stack).expect("a view");
            let (mut shown, mut expected) = (of_mount(&mount), of_stack(stack));
            // An empty stack has no time of its own.
            for listing in [&mut shown, &mut expected] {
                listing.entry("/".to_owned()).and_modify(|root| root.3 = 0);
            }
            assert_eq!(shown, expected, "{backend}: {name}");
        }
    }
}

fn of_stack(stack: &LayerStack) -> Listing {
    let mut listing = Listing::new();
    add_entry(&stack.tree().root().expect("root"), &mut listing);
    listing
}

fn add_entry(entry: &Entry, listing: &mut Listing) {
    let stat = entry.stat();
    let content = match stat.kind {
        FileKind::File => stat.size.to_string().into_bytes(),
        _ => stat.link_target.clone(),
    };
    let line = (stat.mode, stat.uid, stat.gid, stat.mtime_ns, content);
    listing.insert(entry.path().to_string(), line);
    if stat.is_dir() {
        for name in entry.read_dir().expect("names") {
            add_entry(&entry.child(&name).expect("child"), listing);
        }
    }
}

fn of_mount(mount: &DetachedMount) -> Listing {
    let number = std::os::fd::AsRawFd::as_raw_fd(&mount.fd);
    let mut listing = Listing::new();
    add_path(
        format!("/proc/self/fd/{number}/.").as_ref(),
        "/",
        &mut listing,
    );
    listing
}

fn add_path(path: &Path, shown: &str, listing: &mut Listing) {
    let meta = path.symlink_metadata().expect("described");
    let content = match meta.file_type() {
        kind if kind.is_file() => meta.len().to_string().into_bytes(),
        kind if kind.is_symlink() => {
            let target = path.read_link().expect("a target");
            target.as_os_str().as_bytes().to_vec()
        }
        _ => Vec::new(),
    };
    let time = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    let line = (meta.mode() & 0o7777, meta.uid(), meta.gid(), time, content);
    listing.insert(shown.to_owned(), line);
    if meta.is_dir() {
        for child in path.read_dir().expect("names") {
            let child = child.expect("a name");
            let name = child.file_name().into_string().expect("text");
            let shown = format!("{}/{name}", shown.trim_end_matches('/'));
            add_path(&child.path(), &shown, listing);
        }
    }
}
