//! What the tests of several crates need. Only tests depend on this crate.
//!
//! | module | for tests that |
//! |---|---|
//! | [`harness`] | run in a program with a `main` of its own, since that is also a step's sandbox |
//! | [`namespace`] | must give the same results for users who are not root of the machine |
//! | [`server`] | decide what an HTTP server answers |
//! | [`layers`] | look at sealed layers by inode, or change them behind everybody's back |
//! | [`git`] | speak to servers of repositories |
//! | [`docker_registry`] | speak to a real registry |
#![deny(unsafe_code)]

pub mod docker_registry;
pub mod git;
pub mod harness;
pub mod layers;
pub mod namespace;
pub mod server;

/// Reports why a test, or a part of one, is not run.
#[expect(
    clippy::print_stdout,
    reason = "this is how tests report what was skipped"
)]
pub fn skipped(reason: &str) {
    println!("skipped: {reason}");
}
