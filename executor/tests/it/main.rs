//! Steps, as a caller of the crate runs them. They need root, busybox and a kernel with overlayfs.

#![expect(
    clippy::print_stdout,
    reason = "rounds of races and reasons of skipped tests are for the log"
)]

#[path = "../common/mod.rs"]
mod common;

mod attacks;
mod backends;
mod containers;
mod crowds;
mod ends;
mod host;
mod inside;
mod isolation;
mod limits;
mod many;
mod mounts;
mod nested;
mod network;
mod oci;
mod rootless;
mod sockets;
mod streams;
mod stubs;
mod view;

use std::path::Path;

use common::World;
use lamina_executor::ExitStatus;
use lamina_executor::Finished;
use lamina_executor::RuntimeKind;
use lamina_snapshotter::Backend;
use lamina_snapshotter::XattrNamespace;

/// The program that calls `runtime_main`.
const PROGRAM: &str = env!("CARGO_BIN_EXE_executor-test-program");

/// A world and the directory that it lives in.
struct Fixture {
    world: World,
    state: tempfile::TempDir,
}

impl std::ops::Deref for Fixture {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

/// Makes a world, or says why that is impossible here.
fn fixture() -> Option<Fixture> {
    fixture_with(RuntimeKind::Builtin)
}

fn fixture_with(runtime: RuntimeKind) -> Option<Fixture> {
    if !nix::unistd::geteuid().is_root() {
        return skip("not root");
    }
    if let Some(reason) = obstacle() {
        return skip(reason);
    }
    let state = state_dir();
    let (program, xattrs) = (Path::new(PROGRAM), XattrNamespace::Trusted);
    let world = World::on(Backend::Overlay, state.path(), program, runtime, xattrs);
    match world {
        Ok(world) => Some(Fixture { world, state }),
        Err(lack) => skip(&lack.to_string()),
    }
}

/// Says why steps cannot be run here, if so.
fn obstacle() -> Option<&'static str> {
    if !Path::new(common::BUSYBOX).exists() {
        return Some("no static busybox");
    }
    None
}

fn skip<T>(reason: &str) -> Option<T> {
    println!("skipped: {reason}");
    None
}

fn state_dir() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("lamina-executor-")
        .tempdir()
        .expect("a directory")
}

fn status(finished: Result<Finished, lamina_executor::ExecError>) -> ExitStatus {
    finished.expect("the step ran").status
}
