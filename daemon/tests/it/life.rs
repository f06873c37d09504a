//! Start and stop (rows FLG-02, FLG-15, FLG-16).

use std::fs;
use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::Test;
use crate::daemon::Home;
use crate::daemon::is_root;
use crate::daemon::processes_of;
use crate::daemon::wait_until;

pub(crate) const TESTS: &[Test] = &[
    (
        "a_signal_stops_it_without_a_trace",
        a_signal_stops_it_without_a_trace,
    ),
    (
        "clients_that_stay_do_not_hold_it_up",
        clients_that_stay_do_not_hold_it_up,
    ),
    ("the_service_manager_is_told", the_service_manager_is_told),
    ("what_is_wrong_is_said", what_is_wrong_is_said),
    ("a_config_file_is_read", a_config_file_is_read),
];

fn a_signal_stops_it_without_a_trace() {
    if !is_root("a_signal_stops_it_without_a_trace") {
        return;
    }
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        let mounts = fs::read("/proc/self/mounts").expect("mounts");
        let mut daemon = home.start(&["--debug"]);
        home.wait_for_log("running server on");
        drop(home.wait_for_socket());
        daemon.signal(signal);
        let status = daemon.end();
        assert_eq!(status.code(), Some(0), "{}", home.log());
        assert!(!home.socket().exists(), "the socket is gone");
        assert_eq!(processes_of(&home.path("state")), [""; 0]);
        assert_eq!(fs::read("/proc/self/mounts").expect("mounts"), mounts);
        assert!(!home.log().contains("panicked"), "{}", home.log());
    }
}

fn clients_that_stay_do_not_hold_it_up() {
    if !is_root("clients_that_stay_do_not_hold_it_up") {
        return;
    }
    let home = Home::new();
    let mut daemon = home.start(&[]);
    let silent = home.wait_for_socket();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end().code(), Some(0), "{}", home.log());
    drop(silent);
}

fn the_service_manager_is_told() {
    if !is_root("the_service_manager_is_told") {
        return;
    }
    let home = Home::new();
    let path = home.path("notify");
    let manager = UnixDatagram::bind(&path).expect("bound");
    manager.set_nonblocking(true).expect("set");
    let address = format!("--addr=unix://{}", home.socket().display());
    let mut command = home.command(&[&address]);
    let child = command
        .env("NOTIFY_SOCKET", &path)
        .spawn()
        .expect("started");
    let mut daemon = crate::daemon::Daemon(child);
    let mut heard = String::new();
    let mut hear = |word: &str| {
        let mut buffer = [0; 256];
        while let Ok(length) = manager.recv(&mut buffer) {
            heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        heard.contains(word)
    };
    wait_until("it is ready", || hear("READY=1"));
    daemon.signal(Signal::TERM);
    daemon.end();
    assert!(hear("STOPPING=1"));
}

fn what_is_wrong_is_said() {
    for (args, part) in [
        (
            vec!["--no-such-flag"],
            "unexpected argument '--no-such-flag'",
        ),
        (
            vec!["--addr", "ssh://x"],
            "expected unix://PATH, tcp://HOST:PORT or fd://",
        ),
        (
            vec!["--allow-insecure-entitlement=x"],
            "invalid entitlement : x",
        ),
        (vec!["--config", "/dev/null/x"], "/dev/null/x"),
        (
            vec!["--addr", "fd://"],
            "no sockets found via socket activation",
        ),
        (vec!["--addr", "tcp://256.0.0.1:1"], "cannot listen on"),
    ] {
        let home = Home::new();
        let mut daemon = crate::daemon::Daemon(home.command(&args).spawn().expect("started"));
        assert!(
            daemon.end().code().is_some_and(|code| code != 0),
            "{args:?}"
        );
        assert!(home.log().contains(part), "{args:?}: {}", home.log());
    }
}

fn a_config_file_is_read() {
    if !is_root("a_config_file_is_read") {
        return;
    }
    let home = Home::new();
    let socket = home.socket();
    let text = format!(
        "surprise = 1\n[grpc]\naddress = [\"unix://{}\"]\n[log]\nformat = \"json\"\n\
         [registry.\"docker.io\"]\nmirrors = [\"localhost:5000\"]\n[otel]\nsocketPath = \"/x\"\n",
        socket.display()
    );
    fs::write(home.path("buildkitd.toml"), text).expect("written");
    let config = home.path("buildkitd.toml").display().to_string();
    let command = home.command(&["--config", &config]).spawn();
    let mut daemon = crate::daemon::Daemon(command.expect("started"));
    drop(home.wait_for_socket());
    home.wait_for_log("running server on");
    let log = home.log();
    assert!(log.starts_with("{\"level\":\"warning\""), "{log}");
    assert!(log.contains("without effect here: otel"), "{log}");
    assert!(
        log.contains("unknown configuration keys: surprise"),
        "{log}"
    );
    daemon.signal(Signal::TERM);
    daemon.end();
}
