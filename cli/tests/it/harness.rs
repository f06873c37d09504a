//! A daemon with a folder of its own, and the command as its client.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

/// Nothing that is waited for may take longer.
const LIMIT: Duration = Duration::from_secs(20);

/// Leaves a test that only root can run.
macro_rules! skip_unless_root {
    () => {
        if !$crate::harness::is_root() {
            use std::io::Write as _;
            writeln!(std::io::stderr(), "skipped: needs root").expect("standard error is open");
            return;
        }
    };
}
pub(crate) use skip_unless_root;

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the command, with nothing of the caller's environment that names a daemon or a folder.
pub(crate) fn lamina() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lamina"));
    for name in [
        "BUILDKIT_HOST",
        "LAMINA_ROOT",
        "BUILDKIT_PROGRESS",
        "NOTIFY_SOCKET",
    ] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// How a command ended.
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    fn of(mut command: Command) -> Self {
        let output = command.output().expect("started");
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// A daemon; stopped with the value, and with it goes its folder.
pub(crate) struct Daemon {
    child: Child,
    home: TempDir,
}

impl Daemon {
    pub(crate) fn start(args: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let log = fs::File::create(home.path().join("log")).expect("a log");
        let mut command = lamina();
        command
            .arg("daemon")
            .arg("--root")
            .arg(home.path().join("state"));
        command.arg(format!(
            "--addr=unix://{}",
            home.path().join("socket").display()
        ));
        command.args(args).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("started");
        let daemon = Self { child, home };
        let begun = Instant::now();
        // The file is there a moment before anybody listens on it.
        while UnixStream::connect(daemon.path("socket")).is_err() {
            assert!(begun.elapsed() < LIMIT, "no socket: {}", daemon.read("log"));
            std::thread::sleep(Duration::from_millis(2));
        }
        daemon
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("folders");
        fs::write(path, content).expect("written");
    }

    /// Returns a command that is for this daemon.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = lamina();
        command.args(args).current_dir(self.home.path());
        command.env(
            "BUILDKIT_HOST",
            format!("unix://{}", self.path("socket").display()),
        );
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Finished {
        Finished::of(self.command(args))
    }

    /// Runs the command with an engine of its own.
    pub(crate) fn run_without_daemon(&self, args: &[&str]) -> Finished {
        let mut command = lamina();
        command.args(args).current_dir(self.home.path());
        command.env("LAMINA_ROOT", self.path("other-state"));
        Finished::of(command)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let id = i32::try_from(self.child.id()).ok();
        if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
            // One that has ended already cannot be told to end.
            rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap_or_default();
        }
        drop(self.child.wait());
    }
}
