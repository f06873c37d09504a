//! The daemon's side: starts the runtime, and runs steps through it.

mod link;
pub(crate) mod network;
mod reports;
mod sealed;

use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use lamina_network::Networks;
use lamina_network::StepNetwork;
use lamina_snapshotter::Mounter;
use lamina_snapshotter::SnapshotStore;
use lamina_types::Blocking;
use lamina_types::BlockingError;
use lamina_types::CancelOnDrop;
use lamina_types::CancelToken;
use lamina_types::IoContext;
use lamina_types::LogStream;
use lamina_types::Progress;
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::net::unix::pipe::Sender;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::task::JoinHandle;

use crate::ExecError;
use crate::ExitStatus;
use crate::Finished;
use crate::ProcessLimit;
use crate::ProcessSpec;
use crate::cgroup::Cgroups;
use crate::channel;
use crate::error::Doing;
use crate::oci_version;
use crate::plan;
use crate::plan::Ends;
use crate::plan::Engine;
use crate::plan::Leftovers;
use crate::sockets::Listening;
use crate::sockets::Served;
use crate::sockets::SocketDir;
use crate::streams::Streams;
use crate::wire::Failure;
use crate::wire::Order;
use crate::wire::Report;
use link::Link;
use reports::receive;
pub(crate) use reports::receive_with_descriptors;

/// Which program makes the sandbox of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Our own code.
    Builtin,
    /// An OCI runtime such as crun or runc, by name or path.
    Oci(PathBuf),
}

/// What steps know of name servers, where it differs from the host (rows EXC-37, CFG-04). Empty =
/// as the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsConfig {
    /// Servers to ask.
    pub nameservers: Vec<IpAddr>,
    /// Options of the resolver, such as `ndots:1`.
    pub options: Vec<String>,
    /// Domains that are tried for short names.
    pub search: Vec<String>,
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
    /// What steps know of name servers.
    pub dns: DnsConfig,
    /// The parent of the control groups of steps that name none; empty for ours (row CFG-06).
    pub cgroup_parent: String,
    /// How many processes and threads each step may have.
    pub max_processes: ProcessLimit,
    /// Where steps are that ask for no network in particular (row EXC-29).
    pub networks: Networks,
}

/// Starts and watches processes through a single-threaded child of our own program. Clones share
/// it; it ends with the last of them.
#[derive(Clone)]
pub struct Executor(Arc<Inner>);

pub(crate) struct Inner {
    engine: Arc<Engine>,
    link: Arc<Link>,
    blocking: Blocking,
    /// How many processes there are that have not been cleaned up after.
    busy: watch::Sender<usize>,
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
        if let RuntimeKind::Oci(program) = &options.runtime {
            oci_version::check(program);
        }
        let cgroups = Cgroups::detect(options.max_processes);
        cgroups.sweep();
        Ok(Self(Arc::new(Inner {
            engine: Arc::new(Engine {
                mounter: options.mounter,
                store: options.store,
                cgroups,
                sockets: SocketDir::open(&options.run_dir.join("sockets"))?,
                stage: std::path::absolute(&stage).at(stage.display())?,
                runtime: options.runtime,
                dns: options.dns,
                cgroup_parent: options.cgroup_parent,
                networks: options.networks,
            }),
            link: Arc::new(Link::start(options.program, &stage)?),
            blocking: options.blocking,
            busy: watch::Sender::new(0),
        })))
    }

    pub(crate) fn inner(&self) -> Arc<Inner> {
        Arc::clone(&self.0)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Returns where steps are that ask for no network in particular.
    #[must_use]
    pub fn networks(&self) -> &Networks {
        &self.0.engine.networks
    }

    /// Waits until nothing is left of any process, also of those that nobody waits for any more.
    pub async fn settled(&self) {
        let mut busy = self.0.busy.subscribe();
        // Its sender is ours, so this cannot fail.
        drop(busy.wait_for(|count| *count == 0).await);
    }

    /// Runs a process to its end; its output goes to `progress` as it comes, all of it before this
    /// returns. That the process failed is no error, nor is that its program cannot be started:
    /// then the reason is in the output, and the code is 1.
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
        let streams = Streams::logged()?;
        self.begin(spec, streams, progress, cancel)?.wait().await
    }

    /// Starts a process whose standard input and output the caller has; what it writes to standard
    /// error goes to `progress`.
    ///
    /// Cancelling, or dropping the [`Process`], kills the whole process tree.
    ///
    /// # Errors
    /// If there are no pipes to be had; whatever else goes wrong is told by [`Process::wait`].
    pub fn spawn(
        &self,
        spec: ProcessSpec,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<(Process, Sender, Receiver), ExecError> {
        let (streams, stdin, stdout) = Streams::piped()?;
        Ok((self.begin(spec, streams, progress, cancel)?, stdin, stdout))
    }

    fn begin(
        &self,
        spec: ProcessSpec,
        streams: Streams,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<Process, ExecError> {
        cancel.check()?;
        let cancel = cancel.child();
        let abandoned = cancel.cancel_on_drop();
        let (inner, progress) = (Arc::clone(&self.0), progress.clone());
        let busy = Busy::new(&inner);
        // A task of its own, so that a step is cleaned up after even if nobody waits any more.
        let run = async move {
            let finished = inner.run(spec, streams, &progress, &cancel).await;
            drop(busy);
            finished
        };
        Ok(Process::new(tokio::spawn(run), abandoned))
    }
}

/// A process that was started. Dropping it kills the process.
#[must_use = "a process is killed when this is dropped"]
pub struct Process {
    task: JoinHandle<Result<Finished, ExecError>>,
    _abandoned: CancelOnDrop,
}

impl Process {
    pub(crate) fn new(
        task: JoinHandle<Result<Finished, ExecError>>,
        abandoned: CancelOnDrop,
    ) -> Self {
        Self {
            task,
            _abandoned: abandoned,
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// As [`Executor::run`].
    pub async fn wait(self) -> Result<Finished, ExecError> {
        let panicked = |error: JoinError| BlockingError::Panicked(error.to_string());
        self.task
            .await
            .unwrap_or_else(|error| Err(ExecError::Blocking(panicked(error))))
    }
}

/// Counts a process as long as something is left of it.
pub(crate) struct Busy(Arc<Inner>);

impl Busy {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        inner.busy.send_modify(|count| *count += 1);
        Self(Arc::clone(inner))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.send_modify(|count| *count -= 1);
    }
}

/// A step that the runtime has been given.
struct Started {
    socket: OwnedFd,
    leftovers: Leftovers,
    sockets: Vec<Listening>,
    warnings: Vec<String>,
}

impl Inner {
    pub(crate) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine)
    }

    pub(crate) fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }

    pub(crate) fn blocking(&self) -> &Blocking {
        &self.blocking
    }

    async fn run(
        &self,
        spec: ProcessSpec,
        streams: Streams,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<Finished, ExecError> {
        let Streams { theirs, logged } = streams;
        // Kept until the step is gone.
        let network = self.join(&spec, progress, cancel).await?;
        let started = self.start(spec, theirs, network.as_ref(), cancel).await?;
        started.warnings.iter().for_each(|text| progress.warn(text));
        let ended = CancelToken::new();
        let served = Served::start(started.sockets, &ended);
        let (outcome, output) = tokio::join!(
            async {
                let outcome = self.watch(started.socket, progress, cancel).await;
                ended.cancel();
                outcome
            },
            logged.follow(progress, &ended),
        );
        let cleaned = self
            .clean(started.leftovers, *outcome.as_ref().unwrap_or(&FAILED))
            .await;
        let served = Served::finish(served).await;
        cancel.check()?;
        outcome?;
        served?;
        output.doing("read the output")?;
        cleaned
    }

    async fn start(
        &self,
        spec: ProcessSpec,
        streams: [OwnedFd; 3],
        network: Option<&StepNetwork>,
        cancel: &CancelToken,
    ) -> Result<Started, ExecError> {
        let (engine, link) = (Arc::clone(&self.engine), Arc::clone(&self.link));
        let namespace = network::namespace(network)?;
        let work = move |_: &CancelToken| {
            let planned = plan::plan(&engine, spec, Ends::plain(streams), namespace)?;
            let (socket, theirs) = channel::pair().doing("make a socket")?;
            planned.send(&socket)?;
            link.hand_over(Order::Step, &[theirs.as_fd()])?;
            rustix::io::ioctl_fionbio(&socket, true).doing("make a socket")?;
            Ok(Started {
                socket,
                leftovers: planned.leftovers,
                sockets: planned.sockets,
                warnings: planned.warnings,
            })
        };
        self.blocking.run(cancel, work).await
    }

    /// Waits for the end of the step; kills it when cancelled.
    async fn watch(
        &self,
        socket: OwnedFd,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<ExitStatus, ExecError> {
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
                // Only processes of containers tell these.
                Some(Report::Born | Report::Terminal) => continue,
                Some(Report::Failed(why)) => {
                    failure = Some(why);
                    continue;
                }
                Some(Report::Exited(code)) => ExitStatus::Code(code),
                Some(Report::Signaled(signal)) => ExitStatus::Signal(signal),
            };
            return match failure {
                None => Ok(status),
                Some(failure) => not_started(failure, progress),
            };
        }
    }

    pub(crate) async fn clean(
        &self,
        leftovers: Leftovers,
        status: ExitStatus,
    ) -> Result<Finished, ExecError> {
        // Not cancellable: it has to be done.
        let work = move |_: &CancelToken| leftovers.clean(status);
        self.blocking.run(&CancelToken::new(), work).await
    }
}

/// Stands for the end of a step that never ran; the result is not used.
pub(crate) const FAILED: ExitStatus = ExitStatus::Code(255);

/// What OCI runtimes end with if they cannot start the program.
const NOT_STARTED: ExitStatus = ExitStatus::Code(1);

impl Drop for Inner {
    fn drop(&mut self) {
        self.engine.cgroups.remove_parent();
    }
}

/// A program that cannot be started is the step's own affair, and clients expect a code (row
/// EXC-01); everything else is an error of ours.
fn not_started(failure: Failure, progress: &Progress) -> Result<ExitStatus, ExecError> {
    let error = ExecError::from(failure);
    if let ExecError::NotStarted(_) = error {
        progress.log(LogStream::Stderr, format!("{error}\n").as_bytes());
        return Ok(NOT_STARTED);
    }
    Err(error)
}
