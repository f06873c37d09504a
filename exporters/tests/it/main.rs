//! Outputs as their users see them.

mod archives;
mod caches;
mod errors;
mod image;
mod local;
mod merged;
mod platforms;
mod remote;
mod support;
mod trees;

use lamina_testkit::docker_registry;
