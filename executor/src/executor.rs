//! The daemon's side: starts the runtime, and runs steps through it.

mod link;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use lamina_snapshotter::Mounter;
use lamina_snapshotter::SnapshotStore;
use lamina_types::Blocking;
use lamina_types::BlockingError;
use lamina_types::CancelToken;
use lamina_types::IoContext;
use lamina_types::LogStream;
use lamina_types::Progress;
use rustix::pipe::PipeFlags;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;

use crate::ExecError;
use crate::ExitStatus;
use crate::Finished;
use crate::ProcessSpec;
use crate::cgroup::Cgroups;
use crate::channel;
use crate::error::Doing;
use crate::output;
use crate::plan;
use crate::plan::Engine;
use crate::plan::Leftovers;
use crate::wire::Failure;
use crate::wire::Report;
use link::Link;

/// Which program makes the sandbox of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Our own code.
    Builtin,
    /// An OCI runtime such as crun or runc, by name or path.
    Oci(PathBuf),
}

/// What an executor works with.
pub struct ExecutorOptions {
    /// What makes the sandboxes.
    pub runtime: RuntimeKind,
    /// What makes the mounts.
    pub mounter: Arc<dyn Mounter>,
    /// The store of the layers; a read-only root gets a throw-away layer for its mount points.
    pub store: SnapshotStore,
    /// Where work on files is done.
    pub blocking: Blocking,
    /// The program that calls [`runtime_main`](crate::runtime_main) when its first argument is
    /// `runtime`; usually `/proc/self/exe`.
    pub program: PathBuf,
    /// A directory of ours, for this process alone, best in memory.
    pub run_dir: PathBuf,
}

/// Starts and watches processes through a single-threaded child of our own program. Clones share
/// it; it ends with the last of them.
#[derive(Clone)]
pub struct Executor(Arc<Inner>);

struct Inner {
    engine: Arc<Engine>,
    link: Arc<Link>,
    blocking: Blocking,
}

impl Executor {
    /// Starts the runtime child.
    ///
    /// # Errors
    /// If the run directory cannot be used or the program not be started. What the child cannot do
    /// is told by the first step.
    pub fn start(options: ExecutorOptions) -> Result<Self, ExecError> {
        let stage = options.run_dir.join("stage");
        std::fs::create_dir_all(&stage).at(stage.display())?;
        let cgroups = Cgroups::detect();
        cgroups.sweep();
        Ok(Self(Arc::new(Inner {
            engine: Arc::new(Engine {
                mounter: options.mounter,
                store: options.store,
                cgroups,
                stage: std::path::absolute(&stage).at(stage.display())?,
                runtime: options.runtime,
            }),
            link: Arc::new(Link::start(options.program)?),
            blocking: options.blocking,
        })))
    }

    /// Runs a process to its end; its output goes to `progress` as it comes, all of it before this
    /// returns. That the process failed is no error.
    ///
    /// Cancelling, or dropping the future, kills the whole process tree; cancelled, this returns
    /// when all of it is gone.
    ///
    /// # Errors
    /// If the process did not run to its end; see [`ExecError`]. The layers of `spec` are deleted.
    pub async fn run(
        &self,
        spec: ProcessSpec,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<Finished, ExecError> {
        cancel.check()?;
        let cancel = cancel.child();
        let abandoned = CancelOnDrop(cancel.clone());
        let (inner, progress) = (Arc::clone(&self.0), progress.clone());
        // A task of its own, so that a step is cleaned up after even if nobody waits any more.
        let task = tokio::spawn(async move { inner.run(spec, &progress, &cancel).await });
        let finished = task.await;
        drop(abandoned);
        finished.unwrap_or_else(|error| {
            Err(ExecError::Blocking(BlockingError::Panicked(
                error.to_string(),
            )))
        })
    }
}

struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A step that the runtime has been given.
struct Started {
    socket: OwnedFd,
    leftovers: Leftovers,
}

impl Inner {
    async fn run(
        &self,
        spec: ProcessSpec,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<Finished, ExecError> {
        let (stdout, stdout_end) = pipe()?;
        let (stderr, stderr_end) = pipe()?;
        let started = self.start(spec, [stdout_end, stderr_end], cancel).await?;
        let ended = CancelToken::new();
        let (outcome, out, err) = tokio::join!(
            async {
                let outcome = self.watch(started.socket, cancel).await;
                ended.cancel();
                outcome
            },
            output::follow(stdout, LogStream::Stdout, progress, &ended),
            output::follow(stderr, LogStream::Stderr, progress, &ended),
        );
        let cleaned = self
            .clean(started.leftovers, *outcome.as_ref().unwrap_or(&FAILED))
            .await;
        cancel.check()?;
        outcome?;
        out.and(err).doing("read the output")?;
        cleaned
    }

    async fn start(
        &self,
        spec: ProcessSpec,
        output: [OwnedFd; 2],
        cancel: &CancelToken,
    ) -> Result<Started, ExecError> {
        let (engine, link) = (Arc::clone(&self.engine), Arc::clone(&self.link));
        let work = move |_: &CancelToken| {
            let planned = plan::plan(&engine, spec, output)?;
            let (socket, theirs) = channel::pair().doing("make a socket")?;
            planned.send(&socket)?;
            link.hand_over(&theirs)?;
            rustix::io::ioctl_fionbio(&socket, true).doing("make a socket")?;
            Ok(Started {
                socket,
                leftovers: planned.leftovers,
            })
        };
        self.blocking.run(cancel, work).await
    }

    /// Waits for the end of the step; kills it when cancelled.
    async fn watch(&self, socket: OwnedFd, cancel: &CancelToken) -> Result<ExitStatus, ExecError> {
        // A stream by type only: it keeps the messages apart, being a sequenced-packet socket.
        let socket = std::os::unix::net::UnixStream::from(socket);
        let socket = UnixStream::from_std(socket).doing("watch a step")?;
        let mut failure = None;
        let mut told = false;
        loop {
            let report = tokio::select! {
                report = receive(&socket) => report.doing("watch a step")?,
                () = cancel.cancelled(), if !told => {
                    told = true;
                    // An error means that the runtime has closed its end already.
                    rustix::net::shutdown(&socket, rustix::net::Shutdown::Write).ok();
                    continue;
                }
            };
            let status = match report {
                None => return Err(self.link.lost()),
                Some(Report::Failed(why)) => {
                    failure = Some(why);
                    continue;
                }
                Some(Report::Exited(code)) => ExitStatus::Code(code),
                Some(Report::Signaled(signal)) => ExitStatus::Signal(signal),
            };
            return failure.map_or(Ok(status), |why| Err(why.into()));
        }
    }

    async fn clean(&self, leftovers: Leftovers, status: ExitStatus) -> Result<Finished, ExecError> {
        // Not cancellable: it has to be done.
        let work = move |_: &CancelToken| leftovers.clean(status);
        self.blocking.run(&CancelToken::new(), work).await
    }
}

/// Stands for the end of a step that never ran; the result is not used.
const FAILED: ExitStatus = ExitStatus::Code(255);

impl Drop for Inner {
    fn drop(&mut self) {
        self.engine.cgroups.remove_parent();
    }
}

impl From<Failure> for ExecError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Selector(selector) => Self::SelectorNotFound { selector },
            Failure::Start(text) => Self::Start(text),
            Failure::NeedsMoreIds(text) => Self::NeedsMoreIds(text),
            Failure::Sandbox(text) => Self::Sandbox(text),
        }
    }
}

fn pipe() -> Result<(Receiver, OwnedFd), ExecError> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing("make a pipe")?;
    let reader = Receiver::from_owned_fd(reader).doing("make a pipe")?;
    Ok((reader, writer))
}

/// Receives a report; `None` when the other side is gone.
async fn receive(socket: &UnixStream) -> std::io::Result<Option<Report>> {
    let read = || channel::receive(socket);
    match socket.async_io(Interest::READABLE, read).await {
        Ok(Some((text, _))) => Ok(Some(serde_json::from_slice(&text)?)),
        Ok(None) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error),
    }
}
