//! The daemon's side: starts the runtime, and runs steps through it.

mod link;
pub(crate) mod network;
mod options;
mod process;
mod reports;
mod sealed;
mod step;

use std::sync::Arc;

use lamina_network::Networks;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use lamina_types::IoContext as _;
use lamina_types::Progress;
use tokio::net::unix::pipe::Receiver;
use tokio::net::unix::pipe::Sender;
use tokio::sync::watch;

use crate::ExecError;
use crate::ExitStatus;
use crate::Finished;
use crate::ProcessSpec;
use crate::cgroup::Cgroups;
use crate::oci_version;
use crate::plan::Engine;
use crate::plan::Leftovers;
use crate::sockets::SocketDir;
use crate::streams::Streams;
use link::Link;
pub use options::DnsConfig;
pub use options::ExecutorOptions;
pub use options::RuntimeKind;
pub(crate) use process::Busy;
pub use process::Process;
pub(crate) use reports::receive_with_descriptors;

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

impl Drop for Inner {
    fn drop(&mut self) {
        self.engine.cgroups.remove_parent();
    }
}
