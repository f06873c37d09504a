//! What a process sees in a FUSE mount whose server is killed.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::process::Stdio;

use lamina_snapshotter::FuseOverlay;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Mounter as _;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::support::Fixture;
use crate::support::skipped;

/// Set in the process that serves and is killed.
const SERVER: &str = "LAMINA_TEST_SERVER";

/// Begins the line that the server prints.
const READY: &str = "serving on descriptor ";

#[test]
fn requests_to_a_killed_server_fail_and_do_not_hang() {
    if std::env::var_os(SERVER).is_some() {
        return serve();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("death::requests_to_a_killed_server_fail_and_do_not_hang")
        .env(SERVER, "1")
        // What it cannot remove itself goes with this process.
        .env("TMPDIR", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let Some(line) = lines.find(|line| line.starts_with(READY)) else {
        assert!(server.wait().unwrap().success(), "the server fails");
        return skipped("killed server", "fuse does not work here");
    };
    let path = format!("/proc/{}/fd/{}", server.id(), &line[READY.len()..]);
    let mount = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let make =
        |index: usize| rustix::fs::mkdirat(&mount, format!("d{index}"), Mode::from_raw_mode(0o755));
    make(0).unwrap();
    // Another thread has a request under way at any time, also when the server dies.
    let error = std::thread::scope(|scope| {
        let busy = scope.spawn(|| (1..).find_map(|index| make(index).err()));
        server.kill().unwrap();
        server.wait().unwrap();
        busy.join().unwrap()
    });
    let expected = [Errno::NOTCONN, Errno::CONNABORTED];
    assert!(
        error.is_some_and(|error| expected.contains(&error)),
        "{error:?}"
    );
    assert_eq!(make(0), Err(Errno::NOTCONN));
}

/// Mounts, says so, and waits to be killed.
#[expect(clippy::print_stdout, reason = "the test reads it")]
fn serve() {
    let fixture = Fixture::new();
    let Ok(fuse) = FuseOverlay::probe(&fixture.store) else {
        return;
    };
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    let mount = fuse.mount_active(&active).unwrap();
    println!("\n{READY}{}", mount.fd.as_raw_fd());
    std::io::stdout().flush().unwrap();
    // Standard input ends with the process that tests, should that die first.
    std::io::stdin().lines().count();
}
