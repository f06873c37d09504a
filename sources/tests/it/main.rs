//! Sources against real directories, layouts and registries.

#[path = "../../../registry/tests/it/docker_registry.rs"]
mod docker_registry;
mod image_kit;
mod images;
mod incremental;
mod layouts;
mod local;
mod schemes;
mod support;
