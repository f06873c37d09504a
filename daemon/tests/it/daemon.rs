//! Starts daemons as separate processes and sees what they do.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

/// Nothing here may take longer; the daemon is to be gone within 20 seconds of a signal.
const LIMIT: Duration = Duration::from_secs(20);

/// Prints a line that the reader of the log sees.
pub(crate) fn report(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error is open");
}

/// Says whether this process may do what only root may; reports if not.
pub(crate) fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        report(&format!("skipped: {test} needs root"));
    }
    root
}

/// A folder for one daemon.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/daemon.sock")
    }

    /// Returns the command with a state folder, a socket and a log of its own.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let log = fs::File::create(self.path("log")).expect("a log");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .arg("daemon")
            .arg("--root")
            .arg(self.path("state"))
            .args(args)
            .env("HOME", self.0.path())
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command
    }

    /// Starts a daemon on the socket.
    pub(crate) fn start(&self, args: &[&str]) -> Daemon {
        let address = format!("--addr=unix://{}", self.socket().display());
        let mut all = vec![address.as_str()];
        all.extend(args);
        Daemon(self.command(&all).spawn().expect("started"))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until the log says `text`.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_until(&format!("the log says {text:?}"), || {
            self.log().contains(text)
        });
    }

    /// Waits until the socket answers.
    #[track_caller]
    pub(crate) fn wait_for_socket(&self) -> UnixStream {
        let mut found = None;
        wait_until("the socket answers", || {
            found = UnixStream::connect(self.socket()).ok();
            found.is_some()
        });
        found.expect("waited for")
    }
}

/// A daemon; killed with the value.
pub(crate) struct Daemon(pub(crate) Child);

impl Daemon {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.id()).expect("a process id");
        let id = rustix::process::Pid::from_raw(id).expect("a process id");
        rustix::process::kill_process(id, signal).expect("signalled");
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the daemon ends", || {
            status = self.0.try_wait().expect("waited");
            status.is_some()
        });
        status.expect("waited for")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Looks again and again until something is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns processes whose command line names `folder`, as a daemon's and its children's do.
pub(crate) fn processes_of(folder: &Path) -> Vec<String> {
    let name = folder.display().to_string();
    let entries = fs::read_dir("/proc").expect("procfs").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&name)).collect()
}
