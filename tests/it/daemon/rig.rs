//! Starts daemons and points clients at them.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use crate::harness;
use crate::harness::Finished;
use crate::harness::Lamina;
use crate::harness::User;
use crate::harness::base;
use crate::harness::program;
use crate::waiting::wait_until;

/// How long a daemon may take to listen, on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(30);
/// How long it may take to stop: what harnesses wait before they kill it.
const STOP: Duration = Duration::from_secs(20);

/// A running daemon with a state folder of its own; killed with the value.
pub(super) struct Daemon {
    pub(super) lamina: Lamina,
    process: Option<Child>,
}

impl Daemon {
    /// Starts one for `user`, or says what is missing.
    pub(super) fn start(user: User) -> Result<Self, String> {
        let mut daemon = Self::prepare(user)?;
        daemon.launch(&[]);
        Ok(daemon)
    }

    /// The same, if there is a buildx to drive it with.
    pub(super) fn start_for_buildx(user: User) -> Result<Self, String> {
        buildx()?;
        Self::start(user)
    }

    /// Makes the folder of one that [`Daemon::launch`] starts, or says what is missing.
    pub(super) fn prepare(user: User) -> Result<Self, String> {
        Ok(Self {
            lamina: Lamina::with_base(user)?,
            process: None,
        })
    }

    /// Starts the process, with further flags, on what state there is, and waits until it listens.
    pub(super) fn launch(&mut self, flags: &[&str]) {
        self.launch_with(flags, &[]);
    }

    /// As [`Daemon::launch`], with further variables in its environment.
    pub(super) fn launch_with(&mut self, flags: &[&str], variables: &[(&str, &str)]) {
        let address = self.address();
        let mut all = vec!["--addr", &address];
        all.extend_from_slice(flags);
        let mut command = self.command(&all);
        command.envs(variables.iter().copied());
        self.launch_command(command);
    }

    /// Returns the command of a daemon on the test's state folder.
    pub(super) fn command(&self, flags: &[&str]) -> Command {
        let root = self.lamina.root().display().to_string();
        let mut args = vec!["daemon", "--root", &root];
        args.extend_from_slice(flags);
        self.lamina.command(&args)
    }

    /// Starts a daemon by a command, and waits until the test's socket answers.
    pub(super) fn launch_command(&mut self, mut command: Command) {
        command.stdout(Stdio::null()).stderr(self.log_file());
        self.process = Some(command.spawn().expect("the daemon starts"));
        self.wait_until_listening();
    }

    /// Waits until the engine is open: one that is stopped before may leave what the next removes.
    pub(super) fn wait_until_open(&self) {
        self.run(&["debug", "workers"]).ok();
    }

    /// Runs `lamina` with this daemon as its builder.
    pub(super) fn run(&self, args: &[&str]) -> Finished {
        Finished::new(self.client(args).output().expect("the command starts"))
    }

    /// Returns the command that [`Daemon::run`] runs.
    pub(super) fn client(&self, args: &[&str]) -> Command {
        let mut command = self.lamina.command(args);
        command
            .env_remove("LAMINA_ROOT")
            .env("BUILDKIT_HOST", self.address());
        command
    }

    /// Runs `lamina build` on a folder of the test's with this Dockerfile, on the busybox base.
    pub(super) fn lamina_build(&self, dockerfile: &str, args: &[&str]) -> Finished {
        self.lamina.write("ctx/Dockerfile", dockerfile);
        let output = self.lamina_build_command(args).output();
        Finished::new(output.expect("the command starts"))
    }

    /// Returns the command that [`Daemon::lamina_build`] runs, for the Dockerfile that is there.
    pub(super) fn lamina_build_command(&self, args: &[&str]) -> Command {
        let base = format!("base={}", base().expect("checked at the start").display());
        let mut all = vec!["build", "--build-context", &base];
        all.extend_from_slice(args);
        all.push("ctx");
        self.client(&all)
    }

    /// Waits until the log says `text`.
    #[track_caller]
    pub(super) fn wait_for_log(&self, text: &str) {
        wait_until(&format!("the log says {text:?}"), || {
            self.log().contains(text)
        });
    }

    /// Returns the process; root's is the daemon itself.
    pub(super) fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Reads an amount of the process's memory, in KiB: `VmRSS:`, or `VmHWM:` for the most so far.
    pub(super) fn memory(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(what));
        let value = line.and_then(|line| line.split_whitespace().next());
        value.expect("a value").parse().expect("a number")
    }

    fn log_file(&self) -> fs::File {
        let path = self.lamina.dir().join("daemon.log");
        fs::File::options()
            .create(true)
            .append(true)
            .open(path)
            .expect("a log file")
    }

    /// Returns what the daemon logged.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.lamina.dir().join("daemon.log")).unwrap_or_default()
    }

    fn wait_until_listening(&mut self) {
        let begin = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            let process = self.process.as_mut().expect("started");
            let ended = process.try_wait().expect("a status");
            assert!(ended.is_none(), "the daemon ended: {}", self.log());
            assert!(begin.elapsed() < START, "nobody listens: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.lamina.dir().join("daemon.sock")
    }

    pub(super) fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Asks the process to end, and checks that it does in time and leaves nothing.
    #[track_caller]
    pub(super) fn stop(&mut self) {
        self.stop_leaving_the_socket();
        assert!(!self.socket().exists(), "the socket is left");
    }

    /// As [`Daemon::stop`], for a socket that somebody else made.
    #[track_caller]
    pub(super) fn stop_leaving_the_socket(&mut self) {
        self.send("TERM");
        self.ended();
    }

    /// Checks that a process that was asked to end does so in time and leaves nothing.
    #[track_caller]
    pub(super) fn ended(&mut self) {
        self.ended_well();
        self.lamina.assert_clean();
    }

    /// Checks that a process that was asked to end does so in time; another one may have taken over
    /// the state folder at once.
    #[track_caller]
    pub(super) fn ended_well(&mut self) {
        let mut process = self.process.take().expect("it was running");
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = process.try_wait().expect("a status") {
                break status;
            }
            if begin.elapsed() > STOP {
                harness::signal(&process, "KILL");
                panic!("the daemon does not stop: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Kills the process as nobody should.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            harness::signal(&process, "KILL");
            process.wait().expect("a status");
        }
    }

    /// Sends a signal to the process, and does not wait.
    pub(super) fn send(&self, signal: &str) {
        harness::signal(self.process.as_ref().expect("it runs"), signal);
    }

    /// Waits for the end of a process that was asked to, and returns its exit code.
    pub(super) fn exit_code(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("it was running");
        process.wait().expect("a status").code()
    }

    /// Runs `docker-buildx` with this daemon as its builder.
    pub(super) fn buildx(&self, args: &[&str]) -> Finished {
        Finished::new(self.buildx_command(args).output().expect("buildx starts"))
    }

    /// Returns the command that [`Daemon::buildx`] runs.
    pub(super) fn buildx_command(&self, args: &[&str]) -> Command {
        self.buildx_command_of(&buildx().expect("the test asked for buildx"), args)
    }

    /// Returns the command of a certain buildx.
    pub(super) fn buildx_command_of(&self, buildx: &Path, args: &[&str]) -> Command {
        let config = self.lamina.dir().join("buildx");
        if !config.exists() {
            let mut create = self.client_command(buildx);
            create.args(["create", "--name", "lamina", "--driver", "remote"]);
            create.arg(self.address());
            Finished::new(create.output().expect("buildx starts")).ok();
        }
        let mut command = self.client_command(buildx);
        command.args(args);
        command
    }

    fn client_command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.lamina.dir())
            .env("HOME", self.lamina.dir())
            .env("DOCKER_CONFIG", self.lamina.dir().join("docker"))
            .env("BUILDX_CONFIG", self.lamina.dir().join("buildx"))
            .env("BUILDX_BUILDER", "lamina")
            .env("BUILDKIT_PROGRESS", "plain")
            .stdin(Stdio::null());
        command
    }

    /// Runs `docker-buildx build` on a folder of the test's with this Dockerfile, on the busybox base.
    pub(super) fn build(&self, dockerfile: &str, args: &[&str]) -> Finished {
        self.lamina.write("ctx/Dockerfile", dockerfile);
        Finished::new(self.build_command(args).output().expect("buildx starts"))
    }

    /// Returns the command that [`Daemon::build`] runs, for the Dockerfile that is there.
    pub(super) fn build_command(&self, args: &[&str]) -> Command {
        let base = format!("base={}", base().expect("checked at the start").display());
        let mut all = vec!["build", "--build-context", &base];
        all.extend_from_slice(args);
        all.push("ctx");
        self.buildx_command(&all)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns docker-buildx, which `scripts/install-buildx` puts there.
pub(super) fn buildx() -> Result<PathBuf, String> {
    let ours = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/clients/docker-buildx"
    );
    let found = Some(PathBuf::from(ours)).filter(|path| path.is_file());
    let found = found.or_else(|| program("docker-buildx"));
    found.ok_or_else(|| "docker-buildx is missing; scripts/install-buildx gets it".to_owned())
}

/// Returns a docker-buildx with `--call`, which stable releases do not have yet.
pub(super) fn newer_buildx() -> Result<PathBuf, String> {
    let ours = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/clients/newer/docker-buildx"
    );
    let found = Some(PathBuf::from(ours)).filter(|path| path.is_file());
    let buildx = found.map_or_else(buildx, Ok)?;
    let help = Command::new(&buildx).args(["build", "--help"]).output();
    let knows = |help: Vec<u8>| String::from_utf8_lossy(&help).contains(" --call ");
    if help.is_ok_and(|help| knows(help.stdout)) {
        return Ok(buildx);
    }
    let get = "scripts/install-buildx target/clients/newer forky gets it";
    Err(format!("a docker-buildx with --call is missing; {get}"))
}

/// Starts a daemon of root's, or leaves the test with the reason; for tests that drive it with
/// buildx: `daemon_of_root!(buildx)`.
macro_rules! daemon_of_root {
    () => {
        $crate::daemon::rig::daemon_of_root!(start)
    };
    (buildx) => {
        $crate::daemon::rig::daemon_of_root!(start_for_buildx)
    };
    ($start:ident) => {
        match $crate::daemon::rig::Daemon::$start($crate::harness::User::Root) {
            Ok(daemon) => daemon,
            Err(reason) => $crate::harness::skip!("{reason}"),
        }
    };
}
pub(super) use daemon_of_root;

/// Runs `test` on a daemon of root's, and on daemons of users with one id and with many.
pub(super) fn for_every_user(test: fn(&Daemon)) {
    harness::for_every_user(Daemon::start_for_buildx, |_, mut daemon| {
        test(&daemon);
        daemon.stop();
    });
}

/// Returns the same command, run by `launcher` with `before` as its first arguments.
pub(super) fn wrapped(inner: &Command, launcher: &str, before: &[&str]) -> Command {
    let mut command = Command::new(launcher);
    command.args(before);
    command.arg(inner.get_program()).args(inner.get_args());
    copy_surroundings(inner, &mut command);
    command
}

/// Gives a command the folder and the variables of another.
pub(super) fn copy_surroundings(from: &Command, to: &mut Command) {
    to.stdin(Stdio::null());
    if let Some(dir) = from.get_current_dir() {
        to.current_dir(dir);
    }
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
}

/// Copies a program and the libraries that it is linked with into `root`.
pub(super) fn copy_program(program: &Path, root: &Path) {
    let listed = Command::new("ldd").arg(program).output().expect("ldd runs");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let words = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for file in words.map(Path::new).chain([program]) {
        let to = root.join(file.strip_prefix("/").expect("absolute"));
        fs::create_dir_all(to.parent().expect("a parent")).expect("folders");
        copy_file(file, &to);
    }
}

/// Copies what a file or a link to one holds, with its mode.
pub(super) fn copy_file(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-L").arg(from).arg(to).status();
    assert!(status.expect("cp runs").success(), "{}", from.display());
}
