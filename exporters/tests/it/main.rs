//! Outputs as their users see them.

mod archives;
mod docker_registry;
mod errors;
mod image;
mod local;
mod platforms;
mod support;
mod trees;
