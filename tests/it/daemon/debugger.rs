//! `docker-buildx debug` on a terminal: a shell where a build broke (rows ERR-03, EXE-01, EXE-19).

use std::fs::File;
use std::io::Read as _;
use std::io::Write as _;
use std::process::Child;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;

use rustix::pty::OpenptFlags;

use super::rig::Daemon;
use super::rig::daemon_of_root;
use crate::harness::base;
use crate::waiting::wait_until;

/// A program on a terminal of its own; killed with the value.
struct OnTerminal {
    program: Child,
    keys: File,
    shown: Arc<Mutex<String>>,
}

impl OnTerminal {
    fn start(mut command: Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = rustix::pty::openpt(flags).expect("a terminal");
        rustix::pty::unlockpt(&ours).expect("unlocked");
        let theirs = rustix::pty::ioctl_tiocgptpeer(&ours, flags).expect("its other side");
        let theirs = File::from(theirs);
        let clone = || theirs.try_clone().expect("a descriptor");
        command.stdin(clone()).stdout(clone()).stderr(theirs);
        let program = command.spawn().expect("starts");
        // It holds their side until it is dropped, and the end would never be read.
        drop(command);
        let keys = File::from(ours);
        let screen = keys.try_clone().expect("a descriptor");
        let shown = Arc::default();
        read_all(screen, Arc::clone(&shown));
        Self {
            program,
            keys,
            shown,
        }
    }

    fn shown(&self) -> String {
        self.shown.lock().expect("not poisoned").clone()
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        wait_until(&format!("it shows {text:?}"), || {
            self.shown().contains(text)
        });
    }

    /// Types a line; the terminal is raw.
    fn enter(&mut self, line: &str) {
        let line = format!("{line}\r");
        self.keys.write_all(line.as_bytes()).expect("typed");
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        drop(self.program.kill());
        drop(self.program.wait());
        if std::thread::panicking() {
            crate::harness::report(&self.shown());
        }
    }
}

fn read_all(mut screen: File, shown: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = screen.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            shown.lock().expect("not poisoned").push_str(&text);
        }
    });
}

/// Builds with the debugger, which this client has as an experiment.
fn debug(daemon: &Daemon, on: &str, dockerfile: &str) -> OnTerminal {
    daemon.lamina.write("ctx/Dockerfile", dockerfile);
    let base = format!("base={}", base().expect("checked at the start").display());
    let mut command = daemon.buildx_command(&[
        "debug",
        "--detach=false",
        on,
        "--invoke=/bin/sh",
        "build",
        "--build-context",
        &base,
        "ctx",
    ]);
    command.env("BUILDX_EXPERIMENTAL", "1");
    OnTerminal::start(command)
}

/// Strict readers of `errdefs.Solve` know no descriptions of ops in it, and there is no shell
/// without that detail.
#[test]
fn a_failed_step_can_be_entered() {
    let mut daemon = daemon_of_root!(buildx);
    let dockerfile = "FROM base\nRUN echo broken-$((40+2)) > /trace; exit 3\n";
    let mut buildx = debug(&daemon, "--on=error", dockerfile);
    buildx.wait_for("exit code: 3");
    buildx.wait_for("Launching interactive container");
    buildx.wait_for("/ # ");
    buildx.enter("cat /trace; tty");
    buildx.wait_for("broken-42");
    buildx.wait_for("/dev/pts/0");
    buildx.enter("exit");
    buildx.wait_for("(buildx)");
    buildx.enter("exit");
    wait_until("buildx ends", || {
        buildx.program.try_wait().expect("a status").is_some()
    });
    daemon.stop();
}

#[test]
fn a_build_that_succeeds_can_be_entered() {
    let mut daemon = daemon_of_root!(buildx);
    let dockerfile = "FROM base\nRUN echo made-$((40+2)) > /trace\n";
    let mut buildx = debug(&daemon, "--on=always", dockerfile);
    buildx.wait_for("/ # ");
    buildx.enter("cat /trace");
    buildx.wait_for("made-42");
    drop(buildx);
    daemon.stop();
}
