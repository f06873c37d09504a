//! Outputs as their users see them.

mod archives;
mod caches;
#[path = "../../../registry/tests/it/docker_registry.rs"]
#[expect(dead_code, reason = "only other tests ask for passwords")]
mod docker_registry;
mod errors;
mod image;
mod local;
mod merged;
mod platforms;
mod remote;
mod support;
mod trees;
