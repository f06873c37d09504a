//! The overlay file system of our own, against the kernel's.
//!
//! What every backend must do is checked by `conformance` and `sequences`; here is what this one does
//! better, what it leaves behind, and real programs at work on it.

mod files;
mod oracle;
mod programs;
mod trees;

use std::path::PathBuf;

use lamina_snapshotter::Backend;
use lamina_snapshotter::DetachedMount;
use lamina_snapshotter::Owners;

use crate::conformance::World;
use crate::support::host_path;

/// Returns a store with our own file system, or says why not.
fn world(test: &str) -> Option<World> {
    World::new((Backend::Fuse, Owners::Real), test)
}

fn root(mount: &DetachedMount) -> PathBuf {
    host_path(&mount.fd)
}
