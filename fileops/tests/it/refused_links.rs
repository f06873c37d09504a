//! Copies of files that the kernel does not let become links, although our own rules would.

use std::io::ErrorKind;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use lamina_snapshotter::LayerStack;
use nix::sched::CloneFlags;
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::mount::UnmountFlags;

use crate::copies::copy;
use crate::copies::find;
use crate::copies::inode;
use crate::copies::run;
use crate::copies::tree;
use crate::machine::Machine;
use crate::machine::skip;

/// More names than one file may have on ext4.
const MANY_LINKS: usize = 65_001;

/// Checks that a link to `/d/f` is refused with `expected`, and that a copy of it is whole all the same.
fn check_is_copied(machine: &Machine, source: &LayerStack, expected: Errno) {
    let from = source.tree();
    let entry = find(&from, "/d/f");
    let layer = machine.on(&LayerStack::empty());
    assert!(layer.may_link_from(&entry.origin()), "by our own rules");
    let root = layer.writer().root().expect("the root");
    let refused = root.link_from(b"link", &entry).expect_err("a link");
    assert_eq!(refused.errno(), Some(expected.raw_os_error()));
    drop(root);
    run(copy("/d", "/out"), &layer, &from).expect("a copy");
    let copied = machine.seal(layer).tree();
    assert_ne!(inode(&copied, "/out/f"), inode(&from, "/d/f"));
    let copy = find(&copied, "/out/f");
    assert_eq!(copy.stat().mtime_ns, entry.stat().mtime_ns);
    assert_eq!(copy.stat().mode, entry.stat().mode);
    let mut text = String::new();
    let mut file = copy.open().expect("a file");
    file.read_to_string(&mut text).expect("text");
    assert_eq!(text, "/d/f");
}

fn folder_of(machine: &Machine, stack: &LayerStack) -> PathBuf {
    let id = stack.layers()[0].id().to_string();
    machine.folder.path().join(id)
}

#[test]
fn a_file_with_too_many_names_is_copied() {
    // In memory there is no limit.
    let folder = tempfile::tempdir().expect("a folder");
    let Some(machine) = Machine::at(folder) else {
        return;
    };
    let source = tree(&machine, &["/d/", "/d/f"]);
    let names = tempfile::tempdir_in(machine.folder.path().parent().expect("a parent"));
    let names = names.expect("a folder");
    let file = folder_of(&machine, &source).join("fs/d/f");
    match use_up_links(&file, names.path()) {
        Ok(()) => check_is_copied(&machine, &source, Errno::MLINK),
        Err(reason) => skip(&reason).unwrap_or_default(),
    }
}

/// Gives a file as many names as it can have.
fn use_up_links(file: &Path, names: &Path) -> Result<(), String> {
    for number in 0..MANY_LINKS {
        match std::fs::hard_link(file, names.join(number.to_string())) {
            Err(error) if error.kind() == ErrorKind::TooManyLinks => return Ok(()),
            made => made.map_err(|error| error.to_string())?,
        }
    }
    Err(format!("this file system allows {MANY_LINKS} names"))
}

#[test]
fn a_file_of_another_mount_is_copied() {
    if !rustix::process::geteuid().is_root() {
        return skip("not root, who may mount").unwrap_or_default();
    }
    // The mount is this thread's and goes with it.
    let alone = || {
        nix::sched::unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).expect("a namespace");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).expect("private mounts");
        let Some(machine) = Machine::new() else {
            return;
        };
        let source = tree(&machine, &["/d/", "/d/f"]);
        let folder = folder_of(&machine, &source);
        rustix::mount::mount_bind(&folder, &folder).expect("a mount");
        check_is_copied(&machine, &source, Errno::XDEV);
        rustix::mount::unmount(&folder, UnmountFlags::DETACH).expect("no mount");
    };
    std::thread::scope(|scope| scope.spawn(alone).join().expect("no panic"));
}
