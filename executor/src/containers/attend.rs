//! Starting a process and staying with it until nothing is left of it.

use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;

use lamina_types::CancelToken;
use lamina_types::Progress;
use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;

use super::Live;
use super::Sandbox;
use crate::ExecError;
use crate::ExitStatus;
use crate::Finished;
use crate::JoinSpec;
use crate::NetworkMode;
use crate::ProcessSpec;
use crate::channel;
use crate::error::Doing;
use crate::executor::FAILED;
use crate::executor::Inner;
use crate::executor::network;
use crate::executor::receive_with_descriptors;
use crate::plan;
use crate::plan::Ends;
use crate::plan::Inside;
use crate::plan::Leftovers;
use crate::sockets::Listening;
use crate::sockets::Served;
use crate::wire::Failure;
use crate::wire::Order;
use crate::wire::Report;

/// What is started.
pub(super) enum Attended {
    /// A process with a sandbox of its own.
    First(Box<ProcessSpec>),
    /// One that joins a sandbox.
    Further(Sandbox, JoinSpec),
}

/// A process that the runtime has been given.
struct Given {
    socket: OwnedFd,
    /// What a first process has beside.
    first: Option<(Leftovers, Vec<Listening>, Inside)>,
}

impl Inner {
    /// Starts it, tells when its program runs, and returns when all of it is gone. If nothing was
    /// told, the error says why the program does not run.
    pub(super) async fn attend(
        &self,
        attended: Attended,
        ends: Ends,
        started: Receiver,
        tell: oneshot::Sender<Live>,
        ended: CancelToken,
        cancel: &CancelToken,
    ) -> Result<Finished, ExecError> {
        // Kept until all is gone.
        let network = match &attended {
            Attended::First(spec) => self.join(spec, &Progress::default(), cancel).await?,
            Attended::Further(..) => None,
        };
        let namespace = network::namespace(network.as_ref())?;
        let given = self.give(attended, namespace, ends, cancel).await?;
        let (leftovers, sockets, inside) = match given.first {
            Some((leftovers, sockets, inside)) => (Some(leftovers), sockets, Some(inside)),
            None => (None, Vec::new(), None),
        };
        let served = Served::start(sockets, &ended);
        let outcome = match Watch::new(given.socket) {
            Ok(watch) => {
                self.watch_live(watch, started, (tell, inside), cancel)
                    .await
            }
            Err(error) => Err(error),
        };
        ended.cancel();
        let finished = match leftovers {
            Some(leftovers) => {
                self.clean(leftovers, *outcome.as_ref().unwrap_or(&FAILED))
                    .await
            }
            None => Ok(without_layers(*outcome.as_ref().unwrap_or(&FAILED))),
        };
        let served = Served::finish(served).await;
        cancel.check()?;
        outcome?;
        served?;
        finished
    }

    async fn give(
        &self,
        attended: Attended,
        namespace: Option<OwnedFd>,
        ends: Ends,
        cancel: &CancelToken,
    ) -> Result<Given, ExecError> {
        let (engine, link) = (self.engine(), self.link());
        let work = move |_: &CancelToken| {
            let (socket, theirs) = channel::pair().doing("make a socket")?;
            let first = match attended {
                Attended::First(spec) => {
                    let is_shared = spec.network != NetworkMode::None && namespace.is_none();
                    let planned = plan::plan(&engine, *spec, ends, namespace)?;
                    let inside = planned.leftovers.inside(is_shared)?;
                    planned.send(&socket)?;
                    link.hand_over(Order::Container, &[theirs.as_fd()])?;
                    Some((planned.leftovers, planned.sockets, inside))
                }
                Attended::Further(sandbox, spec) => {
                    let process = sandbox.0.first.try_clone().doing("name a container")?;
                    let sent = plan::join(&engine, spec, &sandbox.0.inside, (process, ends))?;
                    plan::send(&socket, &sent)?;
                    link.hand_over(Order::Join, &[theirs.as_fd(), sandbox.0.first.as_fd()])?;
                    None
                }
            };
            rustix::io::ioctl_fionbio(&socket, true).doing("make a socket")?;
            Ok(Given { socket, first })
        };
        self.blocking().run(cancel, work).await
    }

    /// Waits for the start, tells it, and waits for the end.
    async fn watch_live(
        &self,
        mut watch: Watch,
        started: Receiver,
        (tell, inside): (oneshot::Sender<Live>, Option<Inside>),
        cancel: &CancelToken,
    ) -> Result<ExitStatus, ExecError> {
        let told = watch.until_started(started, cancel).await;
        told.and_then(|alive| alive.ok_or_else(|| self.link().lost()))?;
        if let (None, Some(pidfd)) = (&watch.failure, watch.pidfd.take()) {
            let program = watch.program.as_ref().map(OwnedFd::try_clone);
            let live = Live {
                pidfd,
                program: program.transpose().doing("name a process")?,
                terminal: watch.terminal.take(),
                inside,
            };
            // Nobody waits for it: then it is about to be cancelled.
            drop(tell.send(live));
        }
        while watch.status.is_none() {
            if !watch.next(cancel).await? {
                return Err(self.link().lost());
            }
        }
        match watch.failure {
            Some(failure) => Err(failure.into()),
            None => Ok(watch.status.unwrap_or(FAILED)),
        }
    }
}

/// Listens to what runtime and process tell.
struct Watch {
    socket: UnixStream,
    pidfd: Option<OwnedFd>,
    /// The program's process, if the one that the runtime kills is another.
    program: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    failure: Option<Failure>,
    status: Option<ExitStatus>,
    /// Whether the runtime was told to kill it.
    given_up: bool,
}

impl Watch {
    fn new(socket: OwnedFd) -> Result<Self, ExecError> {
        // A stream by type only: it keeps the messages apart, being a sequenced-packet socket.
        let socket = std::os::unix::net::UnixStream::from(socket);
        Ok(Self {
            socket: UnixStream::from_std(socket).doing("watch a process")?,
            pidfd: None,
            program: None,
            terminal: None,
            failure: None,
            status: None,
            given_up: false,
        })
    }

    /// Returns once the program runs or never will; `None` if the runtime has gone.
    async fn until_started(
        &mut self,
        mut started: Receiver,
        cancel: &CancelToken,
    ) -> Result<Option<()>, ExecError> {
        let mut nothing = [0];
        // The end of the process may be told before the pipe is seen to be closed.
        while self.status.is_none() {
            tokio::select! {
                biased;
                closed = started.read(&mut nothing) => {
                    closed.doing("watch a process")?;
                    break;
                }
                more = self.next(cancel) => if !more? {
                    return Ok(None);
                },
            }
        }
        while self.pidfd.is_none() && self.status.is_none() {
            if !self.next(cancel).await? {
                return Ok(None);
            }
        }
        // What the process told before it closed the pipe has arrived by now.
        self.take_rest()?;
        Ok(Some(()))
    }

    /// Takes one report; kills the process when cancelled. False if the runtime has gone.
    async fn next(&mut self, cancel: &CancelToken) -> Result<bool, ExecError> {
        loop {
            let received = tokio::select! {
                received = receive_with_descriptors(&self.socket) => received,
                () = cancel.cancelled(), if !self.given_up => {
                    self.given_up = true;
                    self.kill_program();
                    // An error means that the runtime has closed its end already.
                    rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write).ok();
                    continue;
                }
            };
            let Some((report, descriptors)) = received.doing("watch a process")? else {
                return Ok(false);
            };
            self.note(report, descriptors);
            return Ok(true);
        }
    }

    /// Kills what does not end with the process that the runtime kills.
    fn kill_program(&self) {
        if let Some(program) = &self.program {
            // An error means that it has ended.
            rustix::process::pidfd_send_signal(program, Signal::KILL).ok();
        }
    }

    /// Asks the kernel itself, without waiting.
    fn take_rest(&mut self) -> Result<(), ExecError> {
        while self.status.is_none() {
            match channel::receive(&self.socket) {
                Ok(Some((text, descriptors))) => {
                    let report = serde_json::from_slice(&text).map_err(std::io::Error::from);
                    self.note(report.doing("watch a process")?, descriptors);
                }
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).doing("watch a process"),
            }
        }
        Ok(())
    }

    fn note(&mut self, report: Report, descriptors: Vec<OwnedFd>) {
        let descriptor = descriptors.into_iter().next();
        match report {
            Report::Born => self.pidfd = descriptor,
            Report::Process => self.program = descriptor,
            Report::Terminal => self.terminal = descriptor,
            Report::Failed(failure) => self.failure = Some(failure),
            Report::Exited(code) => self.status = Some(ExitStatus::Code(code)),
            Report::Signaled(signal) => self.status = Some(ExitStatus::Signal(signal)),
        }
    }
}

fn without_layers(status: ExitStatus) -> Finished {
    Finished {
        status,
        root: None,
        mounts: Vec::new(),
    }
}
