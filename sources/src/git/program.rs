//! Running git, shut off from the machine and from the user that it runs as.
//!
//! The environment is cleared and no configuration but the one below is read, so what a build gets
//! does not depend on where it runs. Secrets travel in the environment, never in arguments, which
//! every user of a machine can list. Only the transports of remotes are allowed; files of this host
//! are not, neither as remotes nor as submodules (CVE-2022-39253). No hook runs, and nothing asks a
//! terminal. What git says on the way is the step's log.

mod words;

use std::ffi::OsStr;
use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use lamina_types::Blocking;
use lamina_types::BlockingError;
use lamina_types::CancelToken;
use lamina_types::Cancelled;
use lamina_types::LogStream;
use lamina_types::Progress;
use rustix::process::Pid;
use rustix::process::Signal;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::process::Child;
use tokio::process::Command;

use super::GitError;
use crate::SourceError;
use crate::sys;
use words::Words;

/// The program.
pub(super) const PROGRAM: &str = "git";

/// How remotes may be reached.
const TRANSPORTS: &str = "https:http:ssh:git";

/// What is passed on from the environment: where programs, proxies and certificates are.
const PASSED: [&str; 13] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// What is set instead of what machine and user would have.
const SETTINGS: [(&str, &str); 12] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.logAllRefUpdates", "false"),
    ("init.defaultBranch", "master"),
    ("init.templateDir", ""),
    ("log.showSignature", "false"),
    ("credential.helper", ""),
    ("safe.directory", "*"),
    // No process may outlive the command; what nothing refers to goes at once.
    ("gc.autoDetach", "false"),
    ("maintenance.autoDetach", "false"),
    ("gc.pruneExpire", "now"),
    ("submodule.fetchJobs", "4"),
];

/// How long git has to end in order when a build is cancelled.
const PATIENCE: Duration = Duration::from_secs(10);

/// Output beyond this is not read: no answer is that long.
const MAX_OUTPUT_BYTES: u64 = 64 << 20;

/// What all runs of git for one piece of work share.
pub(super) struct Git {
    pub(super) blocking: Blocking,
    pub(super) progress: Progress,
    pub(super) cancel: CancelToken,
    /// Where git runs and finds nothing.
    pub(super) place: PathBuf,
    /// Further settings, which may hold secrets.
    pub(super) settings: Vec<(String, String)>,
    /// Further variables.
    pub(super) variables: Vec<(&'static str, OsString)>,
    /// Secrets, which no text may show.
    pub(super) secrets: Vec<String>,
}

/// One run.
pub(super) struct Call<'a> {
    git: &'a Git,
    args: Vec<OsString>,
    repository: Option<PathBuf>,
    folder: Option<PathBuf>,
    is_quiet: bool,
    transports: &'static str,
}

/// Why a run gave nothing.
#[derive(Debug)]
pub(super) enum CallError {
    /// The build was cancelled.
    Cancelled,
    /// It could not be started or waited for.
    Start(SourceError),
    /// Git says no.
    Refused(Words),
}

impl Git {
    /// Begins a run with these arguments.
    pub(super) fn call<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Call<'_> {
        Call {
            git: self,
            args: args
                .into_iter()
                .map(|arg| arg.as_ref().to_owned())
                .collect(),
            repository: None,
            folder: None,
            is_quiet: false,
            transports: TRANSPORTS,
        }
    }
}

impl Call<'_> {
    /// Lets it work on this repository; otherwise there is none.
    pub(super) fn on(mut self, repository: &Path) -> Self {
        self.repository = Some(repository.to_owned());
        self
    }

    /// Runs it in a folder, on the repository that the folder has.
    pub(super) fn within(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Adds arguments.
    pub(super) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Keeps what it says out of the log: it may fail, and that is an answer.
    pub(super) fn quietly(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// Lets it fetch from a folder of this host, and from nowhere else.
    pub(super) fn with_folders_only(mut self) -> Self {
        self.transports = "file";
        self
    }

    /// Runs it to its end; returns what it printed.
    ///
    /// # Errors
    /// [`CallError::Cancelled`] when all its processes have been told to end.
    pub(super) async fn run(self) -> Result<Vec<u8>, CallError> {
        let mut child = self.start().await?;
        // Ends the processes if nobody waits any more.
        let mut group = Group(
            child
                .id()
                .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)),
        );
        let words = Words::new(&self.git.secrets);
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let all = async {
            let (out, words, status) =
                tokio::join!(read(out), self.listen(err, words), child.wait());
            (out, words, status)
        };
        let (out, words, status) = self.unless_cancelled(all, &mut group).await?;
        group.forget();
        match status {
            Ok(status) if status.success() => Ok(out),
            Ok(_) => Err(CallError::Refused(words)),
            Err(error) => Err(missing(&error).into()),
        }
    }

    /// Waits; on cancellation the processes are told to end, and then made to.
    async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = T>,
        group: &mut Group,
    ) -> Result<T, CallError> {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = self.git.cancel.cancelled() => group.signal(Signal::TERM),
        }
        if tokio::time::timeout(PATIENCE, &mut work).await.is_err() {
            group.signal(Signal::KILL);
            work.await;
        }
        group.forget();
        Err(CallError::Cancelled)
    }

    /// Starts it from a thread that lasts: git ends with the thread.
    async fn start(&self) -> Result<Child, CallError> {
        let mut command = self.command();
        let runtime = tokio::runtime::Handle::current();
        let start = move |_: &CancelToken| {
            let _entered = runtime.enter();
            command.spawn().map_err(|error| missing(&error).into())
        };
        self.git.blocking.run(&self.git.cancel, start).await
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(&self.args)
            .current_dir(self.folder.as_ref().unwrap_or(&self.git.place))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        self.set_environment(&mut command);
        sys::settle(&mut command);
        command
    }

    fn set_environment(&self, command: &mut Command) {
        let passed = PASSED
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        command
            .envs(passed)
            .env("HOME", self.git.place.join("home"))
            .env(
                "GIT_CEILING_DIRECTORIES",
                self.git.place.parent().unwrap_or(&self.git.place),
            )
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", self.transports)
            .env("LC_ALL", "C")
            .envs(self.git.variables.iter().map(|(name, value)| (name, value)));
        if let Some(repository) = &self.repository {
            command.env("GIT_DIR", repository);
        }
        let own = self
            .git
            .settings
            .iter()
            .map(|(name, value)| (&**name, &**value));
        let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain(own).collect();
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (at, (name, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{at}"), name);
            command.env(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
    }

    /// Passes on what git says while it works.
    async fn listen(&self, from: Option<impl AsyncRead + Unpin>, mut words: Words) -> Words {
        let Some(mut from) = from else {
            return words;
        };
        let mut piece = vec![0; 8 << 10];
        while let Ok(count @ 1..) = from.read(&mut piece).await {
            self.log(words.take(&piece[..count]));
        }
        self.log(words.finish());
        words
    }

    fn log(&self, lines: impl IntoIterator<Item = String>) {
        for line in lines.into_iter().filter(|_| !self.is_quiet) {
            self.git.progress.log(LogStream::Stderr, line.as_bytes());
        }
    }
}

/// What a broken pipe loses, the exit status tells.
async fn read(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut all = Vec::new();
    if let Some(from) = from {
        drop(from.take(MAX_OUTPUT_BYTES).read_to_end(&mut all).await);
    }
    all
}

fn missing(error: &std::io::Error) -> GitError {
    GitError::Missing {
        reason: error.to_string(),
    }
}

/// The processes of one run, which end with it.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            // They may be gone by now.
            let _gone = rustix::process::kill_process_group(leader, signal);
        }
    }

    /// Nobody is left, and the number may be another's soon.
    fn forget(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
    }
}

impl From<BlockingError> for CallError {
    fn from(error: BlockingError) -> Self {
        match error {
            BlockingError::Cancelled(_) => Self::Cancelled,
            other => Self::Start(other.into()),
        }
    }
}

impl From<GitError> for CallError {
    fn from(error: GitError) -> Self {
        Self::Start(error.into())
    }
}

impl CallError {
    /// Says what was being done with which repository.
    pub(super) fn during(self, action: &'static str, remote: &str, reference: &str) -> SourceError {
        match self {
            Self::Cancelled => Cancelled.into(),
            Self::Start(error) => error,
            Self::Refused(words) => GitError::Failed {
                action,
                remote: remote.to_owned(),
                reference: reference.to_owned(),
                reason: words.last(),
            }
            .into(),
        }
    }

    /// Says whether git refused with one of these words.
    pub(super) fn says(&self, any: &[&str]) -> bool {
        match self {
            Self::Refused(words) => any.iter().any(|word| words.text().contains(word)),
            _ => false,
        }
    }

    /// Says whether git refused at all, rather than not having run to its end.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}
