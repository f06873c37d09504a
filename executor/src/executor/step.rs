//! The life of one step: planned, handed to the runtime, watched, cleaned up after.

use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lamina_network::StepNetwork;
use lamina_types::CancelToken;
use lamina_types::LogStream;
use lamina_types::Progress;
use tokio::net::UnixStream;

use super::FAILED;
use super::Inner;
use super::network;
use super::reports::receive;
use crate::ExecError;
use crate::ExitStatus;
use crate::Finished;
use crate::ProcessSpec;
use crate::channel;
use crate::error::Doing;
use crate::plan;
use crate::plan::Ends;
use crate::plan::Leftovers;
use crate::sockets::Listening;
use crate::sockets::Served;
use crate::streams::Streams;
use crate::wire::Failure;
use crate::wire::Order;
use crate::wire::Report;

/// What OCI runtimes end with if they cannot start the program.
const NOT_STARTED: ExitStatus = ExitStatus::Code(1);

/// A step that the runtime has been given.
struct Started {
    socket: OwnedFd,
    leftovers: Leftovers,
    sockets: Vec<Listening>,
    warnings: Vec<String>,
}

impl Inner {
    /// Runs a step from its network to the last of what it leaves.
    pub(super) async fn run(
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
                Some(Report::Born | Report::Process | Report::Terminal) => continue,
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
