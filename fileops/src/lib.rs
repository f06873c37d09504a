//! File operations on a layer that is being made: copy, mkfile, mkdir, rm and symlink.
//!
//! They are the actions of a File op (rows FIL-01 to FIL-25) in types of their own; nothing here
//! knows the wire. [`apply`] carries one out on an [`ActiveLayer`] through the snapshotter's writer,
//! never on a mount, so the same code serves every backend, and every path stays inside the layer's
//! tree. Copies use the threads of the rayon pool that they are called on.
//!
//! ```no_run
//! use lamina_fileops::Action;
//! use lamina_fileops::FileOpError;
//! use lamina_fileops::MkDirAction;
//! use lamina_snapshotter::ActiveLayer;
//! use lamina_types::CancelToken;
//!
//! fn make_app(layer: &ActiveLayer) -> Result<(), FileOpError> {
//!     let action = Action::MkDir(MkDirAction {
//!         path: b"/srv/app".to_vec(),
//!         mode: 0o755,
//!         make_parents: true,
//!         ..MkDirAction::default()
//!     });
//!     lamina_fileops::apply(&action, layer, None, &CancelToken::new())
//! }
//! ```
//!
//! A copied file whose owner, mode, time and attributes stay the same becomes one more link to the
//! sealed inode: no data is read and no space used. Nothing that a sealed layer may share is ever
//! written in place.

mod action;
mod copy;
mod dirs;
mod error;
mod inherit;
mod metadata;
mod mkdir;
mod mkfile;
mod mode;
mod names;
mod owner;
mod rm;
mod selection;
mod symlink;
mod target;
mod unpack;
mod wildcards;

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Tree;
use lamina_types::CancelToken;

pub use action::Action;
pub use action::CopyAction;
pub use action::CopyMode;
pub use action::MkDirAction;
pub use action::MkFileAction;
pub use action::Owner;
pub use action::RmAction;
pub use action::SymlinkAction;
pub use action::UserRef;
pub use error::FileOpError;
pub use selection::ContentSelections;
pub use selection::content_selections;

/// Carries out `action` on `target`; copies read from `source`, or from an empty tree without one.
///
/// Blocks; checks `cancel` once per file and per MiB. On an error the layer holds part of the
/// result and is good for nothing but being dropped.
///
/// # Errors
/// What is wrong with the action, or what the file system refused; see [`FileOpError`]. Of several
/// errors in one copy, the first in path order.
pub fn apply(
    action: &Action,
    target: &ActiveLayer,
    source: Option<&Tree>,
    cancel: &CancelToken,
) -> Result<(), FileOpError> {
    cancel.check()?;
    let target = target::Target::new(target);
    match action {
        Action::Copy(copy) => {
            copy::run(copy, &target, source, cancel).map_err(|error| error.of_copy(copy))
        }
        Action::MkFile(mkfile) => mkfile::run(mkfile, &target),
        Action::MkDir(mkdir) => mkdir::run(mkdir, &target),
        Action::Rm(rm) => rm::run(rm, &target, cancel),
        Action::Symlink(symlink) => symlink::run(symlink, &target),
    }
}
