//! Layers, stacks, look-ups, seal, merge, diff, digests and mounts.
//!
//! A *layer* is an immutable changeset on disk. A *stack* lists layers, bottom first, and means
//! exactly what an overlayfs mount of them would show. Everything that reads a stack does it here,
//! in user space, through directory file descriptors; the kernel's overlayfs serves running
//! processes only and is the oracle of the tests.
//!
//! The life of a layer:
//!
//! 1. [`SnapshotStore::prepare`] makes an [`ActiveLayer`] on top of a [`LayerStack`].
//! 2. It is written through [`ActiveLayer::writer`] (no mount) or by a process that sees
//!    [`Mounter::mount_active`].
//! 3. [`ActiveLayer::commit`] *seals* it: what it deletes becomes explicit whiteouts, so that the
//!    layer means the same on top of any stack, and renames it into the store.
//! 4. From then on it is a [`Layer`]: shared, never changed, deleted by [`SnapshotStore::sweep`]
//!    once nothing holds it.
//! 5. [`SnapshotStore::flush`] makes it, and all others, survive a loss of power.
//!
//! On disk (every file and field is described in [`store`]):
//!
//! ```text
//! layers/format            version, xattr namespace, where owners are kept
//! layers/next              ids below this were handed out
//! layers/flushed           layers that a loss of power leaves alone
//! layers/boot              the boot in which the store was last opened
//! layers/<id>/fs/          the changeset: an overlayfs upper directory, sealed
//! layers/<id>/manifest     what is known of it
//! layers/tmp-<id>/{fs,work}   being written; deleted after the next start
//! layers/dead-<id>/        being deleted
//! ```

#![deny(unsafe_code)]

mod active;
mod changes;
mod compare;
mod copy;
mod diff;
mod digest;
mod error;
mod fdio;
mod format;
mod fuse;
mod inodes;
mod links;
mod merge;
mod metadata;
mod mount;
mod namespace;
mod owners;
mod remove;
mod seal;
mod size;
mod stack;
pub mod store;
#[expect(unsafe_code, reason = "system calls that no crate wraps")]
mod sys;
mod tree;
mod upper;
pub mod users;
mod xattrs;

pub use active::ActiveLayer;
pub use changes::Change;
pub use changes::ChangeKind;
pub use changes::Changes;
pub use digest::FileDigester;
pub use digest::Selection;
pub use error::SnapshotError;
pub use format::StoreFormat;
pub use metadata::MetadataChange;
pub use mount::Backend;
pub use mount::Backing;
pub use mount::Chosen;
pub use mount::CopyTree;
pub use mount::DetachedMount;
pub use mount::FuseOverlay;
pub use mount::KernelOverlay;
pub use mount::Mounter;
pub use mount::Refusal;
pub use mount::choose;
pub use namespace::XattrNamespace;
pub use owners::Owners;
pub use size::size_bytes;
pub use stack::LayerStack;
pub use store::DamagedLayer;
pub use store::Layer;
pub use store::LayerBlob;
pub use store::LayerUsage;
pub use store::SnapshotStore;
pub use store::StoreCheck;
pub use tree::Entry;
pub use tree::Follow;
pub use tree::Origin;
pub use tree::Tree;
pub use upper::Linker;
pub use upper::Upper;
pub use upper::WriteDir;
