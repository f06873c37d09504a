//! The client against servers: a real registry on loopback where one is installed, and a small
//! one of our own that misbehaves on demand.

mod client_tokens;
mod faults;
mod manifests;
mod mirrors;
mod real;
mod support;
mod tokens;

use lamina_testkit::docker_registry;
use lamina_testkit::server;
