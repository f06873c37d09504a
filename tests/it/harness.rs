//! Runs the built `lamina` command in a folder of its own.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::leftovers::mounts_of;
use crate::leftovers::processes_with;
use crate::leftovers::unfinished;
use crate::scratch::scratch;

/// The uid and gid that rootless tests use.
const USER: u32 = 54321;

/// Says that a test cannot run here and why; the reader of the log sees it.
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::harness::report(&format!("skipped: {}", format_args!($($reason)*)));
        return;
    }};
}
pub(crate) use skip;

/// Prints a line that the reader of the log sees although the test passes.
pub(crate) fn report(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error is open");
}

/// Who runs the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum User {
    Root,
    /// An ordinary user without subordinate ids, whose layers have real owners if FUSE is not for everybody.
    SingleId,
    /// The same, who may open FUSE, as on most machines, so the owners of files are stored.
    SingleIdWithFuse,
    /// An ordinary user with subordinate ids, which it has in a mount namespace of its own.
    Subordinate,
}

/// Puts the user and its subordinate ids over the machine's, if folder `$1` has some, lets everybody open
/// FUSE, then becomes the user.
const WITH_OWN_FILES: &str = r#"
set -e
if [ -e "$1/passwd" ]; then
    mount --bind "$1/passwd" /etc/passwd
    mount --bind "$1/ranges" /etc/subuid
    mount --bind "$1/ranges" /etc/subgid
fi
if [ -c /dev/fuse ]; then
    mount -t tmpfs devices "$1/dev"
    ! mknod -m 666 "$1/dev/fuse" c 10 229 || mount --bind "$1/dev/fuse" /dev/fuse
fi
user=$2
shift 2
exec setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"
"#;

/// Says whether this test run may act for `user`.
pub(crate) fn may_act_as(user: User) -> Result<(), String> {
    if !is_root() {
        return Err("needs root to choose the user".to_owned());
    }
    match user {
        User::Root => Ok(()),
        User::SingleId => need(&["setpriv"]),
        User::SingleIdWithFuse => {
            need(&["setpriv", "unshare"])?;
            match Lamina::new(user).may_open_fuse() {
                true => Ok(()),
                false => Err("/dev/fuse is missing, or cannot be made for others".to_owned()),
            }
        }
        User::Subordinate => {
            need(&["setpriv", "unshare", "newuidmap", "newgidmap"])?;
            let mut files = ["/etc/subuid", "/etc/subgid"].iter();
            match files.find(|file| !Path::new(file).exists()) {
                Some(file) => Err(format!("{file} is missing")),
                None => Ok(()),
            }
        }
    }
}

fn need(programs: &[&str]) -> Result<(), String> {
    match programs.iter().find(|name| program(name).is_none()) {
        Some(name) => Err(format!("{name} is missing")),
        None => Ok(()),
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0)
}

/// Returns where a program is, if it is installed.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// The command under test, built beside this test, where ordinary users can run it too.
static LAMINA: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let test = std::env::current_exe().expect("the test has a path");
    let built = test
        .ancestors()
        .nth(2)
        .expect("target/debug")
        .join("lamina");
    let mut from = fs::File::open(&built)
        .unwrap_or_else(|error| panic!("{}: {error}; run cargo build first", built.display()));
    let dir = scratch();
    let path = dir.path().join("lamina");
    let mut to = fs::File::create_new(&path).expect("a new file");
    std::io::copy(&mut from, &mut to).expect("copied");
    to.set_permissions(fs::Permissions::from_mode(0o755))
        .expect("made executable");
    (dir, path)
});

/// Returns the command under test.
pub(crate) fn lamina() -> &'static Path {
    &LAMINA.1
}

/// A base root file system of static busybox, made once.
static BASE: LazyLock<Result<TempDir, String>> = LazyLock::new(|| {
    if program("busybox").is_none() {
        return Err("busybox-static is missing".to_owned());
    }
    let dir = scratch();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/make-base");
    let status = Command::new(script)
        .arg(dir.path())
        .status()
        .expect("make-base runs");
    assert!(status.success(), "make-base failed");
    Ok(dir)
});

/// Returns the base, or why there is none.
pub(crate) fn base() -> Result<&'static Path, String> {
    BASE.as_ref().map(TempDir::path).map_err(Clone::clone)
}

/// A state folder, a place for files, and somebody who runs the command.
pub(crate) struct Lamina {
    user: User,
    home: TempDir,
}

/// What a run of the command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Finished {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Returns itself after checking that the command succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// Checks that the command failed with a message that has all `parts`, and without a panic.
    #[track_caller]
    pub(crate) fn fails_with(&self, parts: &[&str]) {
        assert!(self.code.is_some_and(|code| code != 0), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "{part:?} is not in:\n{}",
                self.stderr
            );
        }
    }

    /// Returns the number of steps that a plain progress shows as cached. What is loaded for them may
    /// be shown so too: two builds at once, or one that asks twice, load it once.
    pub(crate) fn cached(&self) -> usize {
        let is_loaded = |number: &str| {
            let header = format!("{number} [internal] ");
            self.stderr.lines().any(|line| line.starts_with(&header))
        };
        let cached = self.stderr.lines();
        let cached = cached.filter_map(|line| line.strip_suffix(" CACHED"));
        cached.filter(|number| !is_loaded(number)).count()
    }

    /// Says whether a step printed the line `text`.
    pub(crate) fn printed(&self, text: &str) -> bool {
        let is_output = |line: &str| {
            let mut words = line.splitn(3, ' ').skip(1);
            let timed = words.next().is_some_and(|time| time.parse::<f64>().is_ok());
            timed && words.next() == Some(text)
        };
        self.stderr.lines().any(is_output)
    }
}

impl Lamina {
    /// Prepares an empty state folder for `user`.
    pub(crate) fn new(user: User) -> Self {
        let home = scratch();
        let lamina = Self { user, home };
        if user != User::Root {
            std::os::unix::fs::chown(lamina.dir(), Some(USER), Some(USER)).expect("chown");
            lamina.write("own/dev/.keep", "");
        }
        if user == User::Subordinate {
            let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
            let entry = format!("lamina-test:x:{USER}:{USER}::/:/bin/sh\n");
            lamina.write("own/passwd", known + &entry);
            lamina.write("own/ranges", "lamina-test:300000:65536\n");
        }
        lamina
    }

    /// Prepares one for builds on the busybox base, or says what is missing.
    pub(crate) fn with_base(user: User) -> Result<Self, String> {
        may_act_as(user)?;
        base()?;
        Ok(Self::new(user))
    }

    /// Returns the folder for the test's own files.
    pub(crate) fn dir(&self) -> &Path {
        self.home.path()
    }

    /// Writes a file of the test's, with parents, owned by the user.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.home.path().join(path);
        fs::create_dir_all(file.parent().expect("a parent")).expect("folders");
        fs::write(&file, content).expect("written");
        if self.user != User::Root {
            let inside = file.strip_prefix(self.home.path()).expect("inside");
            for part in inside
                .ancestors()
                .filter(|part| !part.as_os_str().is_empty())
            {
                let part = self.home.path().join(part);
                std::os::unix::fs::lchown(part, Some(USER), Some(USER)).expect("chown");
            }
        }
        file
    }

    /// Returns the command with the state folder and plain progress set.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.command_as_user();
        command
            .arg(&LAMINA.1)
            .args(args)
            .current_dir(self.home.path())
            .env("LAMINA_ROOT", self.root())
            .env("HOME", self.home.path())
            .env("BUILDKIT_PROGRESS", "plain")
            .env_remove("XDG_RUNTIME_DIR")
            .stdin(Stdio::null());
        command
    }

    /// Returns a command that runs its arguments as the user.
    fn command_as_user(&self) -> Command {
        let id = USER.to_string();
        match self.user {
            User::Root => Command::new("env"),
            User::SingleId => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
                command
            }
            User::SingleIdWithFuse | User::Subordinate => {
                let mut command = Command::new("unshare");
                command.args(["-m", "sh", "-c", WITH_OWN_FILES, "sh"]);
                command.arg(self.dir().join("own")).arg(id);
                command
            }
        }
    }

    /// Says whether the user may open FUSE here.
    pub(crate) fn may_open_fuse(&self) -> bool {
        let mut command = self.command_as_user();
        command.args(["sh", "-c", "[ -r /dev/fuse ] && [ -w /dev/fuse ]"]);
        command.status().expect("sh starts").success()
    }

    /// Returns the state folder.
    pub(crate) fn root(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// Runs the command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Finished {
        Finished::new(self.command(args).output().expect("the command starts"))
    }

    /// Runs the command to its end, or interrupts it after so many seconds.
    pub(crate) fn run_within(&self, seconds: &str, args: &[&str]) -> Finished {
        let inner = self.command(args);
        let mut command = Command::new("timeout");
        command.args(["--signal=INT", "--kill-after=10", seconds]);
        command.arg(inner.get_program()).args(inner.get_args());
        command.current_dir(self.home.path()).stdin(Stdio::null());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Finished::new(command.output().expect("the command starts"))
    }

    /// Runs `lamina build` on a folder with this Dockerfile in it, on the busybox base.
    pub(crate) fn build(&self, dockerfile: &str, args: &[&str]) -> Finished {
        self.write("ctx/Dockerfile", dockerfile);
        self.build_dir("ctx", args)
    }

    /// Runs `lamina build` on a folder of the test's, on the busybox base.
    pub(crate) fn build_dir(&self, context: &str, args: &[&str]) -> Finished {
        Finished::new(
            self.build_command(context, args)
                .output()
                .expect("the command starts"),
        )
    }

    /// Returns the command that [`Lamina::build_dir`] runs.
    pub(crate) fn build_command(&self, context: &str, args: &[&str]) -> Command {
        let base = format!(
            "base={}",
            base().expect("the test asked for the base").display()
        );
        let mut all = vec!["build", "--build-context", &base];
        all.extend_from_slice(args);
        all.push(context);
        self.command(&all)
    }

    /// Starts the command without waiting; its standard error is a pipe.
    pub(crate) fn start(mut command: Command) -> Child {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().expect("the command starts")
    }

    /// Reads a file of the test's.
    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.home.path().join(path))
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Checks that nothing is left of finished builds: no unfinished file, mount or process.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        let root = self.root();
        assert_eq!(unfinished(&root), Vec::<PathBuf>::new(), "files");
        assert_eq!(mounts_of(&root), Vec::<String>::new(), "mounts");
        let variable = format!("LAMINA_ROOT={}", root.display());
        assert_eq!(processes_with(&variable), Vec::<u32>::new(), "processes");
    }
}

/// Runs `test` on what `start` makes for root and for each kind of ordinary user; says for whom it cannot
/// and why.
pub(crate) fn for_every_user<T>(start: impl Fn(User) -> Result<T, String>, test: impl Fn(User, T)) {
    for user in [
        User::Root,
        User::SingleId,
        User::SingleIdWithFuse,
        User::Subordinate,
    ] {
        match start(user) {
            Ok(subject) => test(user, subject),
            Err(reason) => report(&format!("skipped: {user:?}: {reason}")),
        }
    }
}

/// Sends a signal to a process, and does not wait.
#[track_caller]
pub(crate) fn signal(process: &Child, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &process.id().to_string()])
        .status();
    assert!(status.expect("kill runs").success(), "no process");
}
