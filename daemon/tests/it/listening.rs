//! Sockets (rows NET-01, NET-02).

use std::fs;
use std::os::unix::net::UnixListener;

use rustix::process::Signal;

use crate::Test;
use crate::daemon::Daemon;
use crate::daemon::Home;
use crate::daemon::is_root;

pub(crate) const TESTS: &[Test] = &[
    (
        "a_killed_daemons_socket_is_replaced",
        a_killed_daemons_socket_is_replaced,
    ),
    (
        "two_daemons_do_not_share_a_socket",
        two_daemons_do_not_share_a_socket,
    ),
    ("other_files_stay", other_files_stay),
    ("a_passed_socket_is_served", a_passed_socket_is_served),
];

fn a_killed_daemons_socket_is_replaced() {
    if !is_root("a_killed_daemons_socket_is_replaced") {
        return;
    }
    let home = Home::new();
    let mut daemon = home.start(&[]);
    drop(home.wait_for_socket());
    daemon.signal(Signal::KILL);
    daemon.end();
    assert!(home.socket().exists(), "nobody removed it");
    let mut daemon = home.start(&[]);
    drop(home.wait_for_socket());
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end().code(), Some(0), "{}", home.log());
}

fn two_daemons_do_not_share_a_socket() {
    if !is_root("two_daemons_do_not_share_a_socket") {
        return;
    }
    let home = Home::new();
    let _first = home.start(&[]);
    drop(home.wait_for_socket());
    let other = Home::new();
    let address = format!("--addr=unix://{}", home.socket().display());
    let mut second = Daemon(other.command(&[&address]).spawn().expect("started"));
    assert_eq!(second.end().code(), Some(1));
    let log = other.log();
    assert!(log.contains("another daemon is listening here"), "{log}");
    drop(home.wait_for_socket());
}

fn other_files_stay() {
    let home = Home::new();
    fs::create_dir(home.path("run")).expect("made");
    fs::write(home.socket(), "precious").expect("written");
    let mut daemon = home.start(&[]);
    assert_eq!(daemon.end().code(), Some(1));
    assert!(home.log().contains("no socket"), "{}", home.log());
    assert_eq!(fs::read(home.socket()).expect("there"), b"precious");
}

/// As systemd does it: descriptor 3, and the process id in the environment.
fn a_passed_socket_is_served() {
    if !is_root("a_passed_socket_is_served") {
        return;
    }
    let home = Home::new();
    fs::create_dir(home.path("run")).expect("made");
    let listener = UnixListener::bind(home.socket()).expect("bound");
    let inner = home.command(&["--addr", "fd://"]);
    let mut command = std::process::Command::new("sh");
    let script = "exec 3<&0; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
    command
        .args(["-c", script, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    command.stdin(std::os::fd::OwnedFd::from(listener));
    command.stderr(fs::File::create(home.path("log")).expect("a log"));
    let mut daemon = Daemon(command.spawn().expect("started"));
    home.wait_for_log("running server on fd://3");
    drop(home.wait_for_socket());
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end().code(), Some(0), "{}", home.log());
    assert!(home.socket().exists(), "the socket is systemd's");
}
