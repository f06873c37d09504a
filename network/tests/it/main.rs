//! Networks between namespaces of the tests' own (rows EXC-29, EXC-36, CFG-09). They need root, a kernel
//! with bridges, wires and nf_tables, and the program `ip`.
//!
//! ```text
//! step ── bridge ── "host": the namespace of the test's thread ── up0 ── up1 ── "outside", 192.0.2.1
//! ```

mod bridge;
mod cni;
mod ipv6;
mod leftovers;
mod rootless;
mod world;
