//! Sources against real directories, layouts and registries.

mod client;
#[path = "../../../registry/tests/it/docker_registry.rs"]
mod docker_registry;
mod http;
mod image_kit;
mod images;
mod incremental;
mod layouts;
mod local;
mod remote;
mod schemes;
#[path = "../../../registry/tests/it/server.rs"]
mod server;
mod support;
