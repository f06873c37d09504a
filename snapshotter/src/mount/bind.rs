//! One directory of the store, shown as it is: what needs no overlay of any kind.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use lamina_types::IoContext;
use rustix::mount::OpenTreeFlags;

use super::DetachedMount;
use crate::LayerStack;
use crate::Owners;
use crate::SnapshotError;
use crate::fdio;
use crate::store::EMPTY_DIR;
use crate::store::SnapshotStore;
use crate::sys;

/// Makes a view of a stack that one directory shows: no layer, or a single one that deletes nothing and
/// whose files are what they are on disk. `None` for all other stacks.
pub(super) fn simple_view(
    store: &SnapshotStore,
    stack: &LayerStack,
) -> Result<Option<DetachedMount>, SnapshotError> {
    let fd = match stack.layers() {
        [] => {
            let empty = fdio::open_dir(store.dir(), EMPTY_DIR.as_bytes()).at(EMPTY_DIR)?;
            read_only(empty, EMPTY_DIR)?
        }
        [only] if !only.has_whiteouts() && store.owners() == Owners::Real => {
            read_only(only.open_fs()?, &only.id().to_string())?
        }
        _ => return Ok(None),
    };
    Ok(Some(DetachedMount::of(fd)))
}

/// Makes a read-only mount of `dir`.
pub(super) fn read_only(dir: impl AsFd, what: &str) -> Result<OwnedFd, SnapshotError> {
    let fd = writable(dir, what)?;
    sys::make_read_only(&fd).at(what)?;
    Ok(fd)
}

/// Makes a mount of `dir`.
pub(super) fn writable(dir: impl AsFd, what: &str) -> Result<OwnedFd, SnapshotError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(dir, "", flags).at(what)?)
}
