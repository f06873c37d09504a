//! Sealed layers, seen by inode, and changed behind everybody's back.
//!
//! Who takes a file over from a sealed layer must make a link to it, and need not read it. The first is
//! seen in [`inodes`]. The second is proven by foul play: after [`tamper`] whoever reads the file sees other
//! data than those that its layer was sealed with.
//!
//! ```no_run
//! use lamina_snapshotter::LayerStack;
//! use lamina_testkit::layers;
//!
//! fn is_linked(context: &LayerStack, copied: &LayerStack) {
//!     assert!(layers::inodes(copied).is_subset(&layers::inodes(context)));
//! }
//! ```

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use lamina_snapshotter::Entry;
use lamina_snapshotter::LayerStack;

/// Calls `visit` with everything in `stack` that is no directory.
pub fn each_file(stack: &LayerStack, visit: &mut dyn FnMut(&Entry)) {
    below(&stack.tree().root().expect("a root"), visit);
}

fn below(dir: &Entry, visit: &mut dyn FnMut(&Entry)) {
    for name in dir.read_dir().expect("readable") {
        let child = dir.child(&name).expect("there");
        match child.stat().is_dir() {
            true => below(&child, visit),
            false => visit(&child),
        }
    }
}

/// Returns the inodes of all files in `stack`.
#[must_use]
pub fn inodes(stack: &LayerStack) -> HashSet<u64> {
    let mut inodes = HashSet::new();
    each_file(stack, &mut |file| {
        inodes.insert(file.origin().inode);
    });
    inodes
}

/// Writes other data over the beginning of a file, in its layer.
pub fn tamper(file: &Entry) {
    let place = file.path_fd().expect("opens");
    let place = format!("/proc/self/fd/{}", place.as_raw_fd());
    let file = File::options().write(true).open(place).expect("opens");
    file.write_all_at(b"#", 0).expect("written");
}
