//! The client against servers: a real registry on loopback where one is installed, and a small
//! one of our own that misbehaves on demand.

mod client_tokens;
mod docker_registry;
mod faults;
mod manifests;
mod mirrors;
mod real;
mod server;
mod support;
mod tokens;
