//! Behaviour of layers, stacks and trees, with the kernel's overlayfs as the oracle.
//!
//! Tests that need what the machine lacks print `skipped:` and the reason.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod check;
mod conformance;
mod crash;
mod death;
mod digest;
mod figures;
mod fuse;
mod golden;
mod kernel;
mod limits;
mod links;
mod lookup;
mod many;
mod merge;
mod mounts;
mod old_format;
mod owners;
mod sequences;
mod store;
mod support;
mod upper;
mod userns;
mod written;
