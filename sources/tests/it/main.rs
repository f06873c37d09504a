//! Sources against real directories, layouts and registries.

mod client;
mod git;
mod http;
mod image_kit;
mod images;
mod incremental;
mod large_context;
mod layouts;
mod local;
mod remote;
mod schemes;
mod support;

use lamina_testkit::docker_registry;
use lamina_testkit::server;
