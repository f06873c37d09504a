//! Processes that somebody talks to: the first one of a sandbox, and further ones in it (rows
//! EXE-08 to EXE-22).
//!
//! ```text
//! Executor::launch ──► the first process, in a sandbox of its own ──► Launched, Sandbox
//! Executor::join(&Sandbox) ──► a further process in there          ──► Launched
//! ```
//! Both return when the program runs, or say why it does not. The sandbox ends with its first
//! process, and takes all others along.

mod attend;
mod streams;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use lamina_types::CancelToken;
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::termios::Winsize;
use tokio::sync::oneshot;

pub use streams::ProcessInput;
pub use streams::ProcessOutput;
pub use streams::ProcessStreams;

use crate::ExecError;
use crate::Executor;
use crate::JoinSpec;
use crate::Process;
use crate::ProcessSpec;
use crate::error::Doing;
use crate::executor::Busy;
use crate::plan::Inside;
use attend::Attended;
use streams::Made;

/// A process that runs, and our ends of its streams.
pub struct Launched {
    /// To wait for its end; dropping it kills the process.
    pub process: Process,
    /// Signals and sizes.
    pub control: ProcessControl,
    /// Its standard input, if one was wanted.
    pub stdin: Option<ProcessInput>,
    /// Its standard output, if it was wanted; all output of a terminal.
    pub stdout: Option<ProcessOutput>,
    /// Its standard error, if it was wanted.
    pub stderr: Option<ProcessOutput>,
}

/// What can be done to a process while it runs. Afterwards nothing happens.
#[derive(Clone, Debug)]
pub struct ProcessControl {
    pidfd: Arc<OwnedFd>,
    terminal: Option<Arc<OwnedFd>>,
}

/// A sandbox whose first process was started; further ones may join it as long as that one lives.
/// Clones share it. It keeps nothing alive.
#[derive(Clone)]
pub struct Sandbox(Arc<SandboxInner>);

struct SandboxInner {
    first: OwnedFd,
    inside: Inside,
}

/// What is known once the program runs.
struct Live {
    /// The process that the runtime has started, in the namespaces of the sandbox.
    pidfd: OwnedFd,
    /// The program's, if it is another.
    program: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    /// Of a first process only.
    inside: Option<Inside>,
}

impl Executor {
    /// Starts the first process of a sandbox, and waits until its program runs.
    ///
    /// Cancelling, or dropping the [`Process`], kills everything in the sandbox.
    ///
    /// # Errors
    /// If the program cannot be started, [`ExecError::NotStarted`] among others. The layers of
    /// `spec` are deleted.
    pub async fn launch(
        &self,
        spec: ProcessSpec,
        streams: ProcessStreams,
        cancel: &CancelToken,
    ) -> Result<(Launched, Sandbox), ExecError> {
        let (mut live, launched) = self
            .attended(Attended::First(Box::new(spec)), streams, cancel)
            .await?;
        let inside = live.inside.take().ok_or_else(lost)?;
        let first = live.pidfd.try_clone().doing("name a container")?;
        let launched = launched.finish(live)?;
        let sandbox = SandboxInner { first, inside };
        Ok((launched, Sandbox(Arc::new(sandbox))))
    }

    /// Starts a further process in `sandbox`, and waits until its program runs.
    ///
    /// Cancelling, or dropping the [`Process`], kills this process; what it has started goes on.
    ///
    /// # Errors
    /// If the program cannot be started, or the sandbox has ended.
    pub async fn join(
        &self,
        sandbox: &Sandbox,
        spec: JoinSpec,
        streams: ProcessStreams,
        cancel: &CancelToken,
    ) -> Result<Launched, ExecError> {
        let attended = Attended::Further(sandbox.clone(), spec);
        let (live, launched) = self.attended(attended, streams, cancel).await?;
        launched.finish(live)
    }

    async fn attended(
        &self,
        attended: Attended,
        streams: ProcessStreams,
        cancel: &CancelToken,
    ) -> Result<(Live, Unfinished), ExecError> {
        cancel.check()?;
        let cancel = cancel.child();
        let abandoned = cancel.cancel_on_drop();
        let ended = CancelToken::new();
        let made = Made::new(streams, &ended)?;
        let Made {
            ends,
            started,
            ours,
        } = made;
        let (tell, told) = oneshot::channel();
        let (inner, busy) = (self.inner(), Busy::new(&self.inner()));
        // A task of its own, so that a process is cleaned up after even if nobody waits any more.
        let run = async move {
            let finished = inner.attend(attended, ends, started, tell, ended, &cancel);
            let finished = finished.await;
            drop(busy);
            finished
        };
        let process = Process::new(tokio::spawn(run), abandoned);
        match told.await {
            Ok(live) => Ok((live, Unfinished { process, ours })),
            Err(_) => Err(process.wait().await.err().unwrap_or_else(lost)),
        }
    }
}

/// A process that runs, whose terminal is still to be put in its place.
struct Unfinished {
    process: Process,
    ours: streams::Ours,
}

impl Unfinished {
    fn finish(self, live: Live) -> Result<Launched, ExecError> {
        let Self { process, mut ours } = self;
        let terminal = live.terminal.map(Arc::new);
        if let Some(terminal) = &terminal {
            ours.connect(terminal)?;
        }
        Ok(Launched {
            process,
            control: ProcessControl {
                pidfd: Arc::new(live.program.unwrap_or(live.pidfd)),
                terminal,
            },
            stdin: ours.stdin,
            stdout: ours.stdout,
            stderr: ours.stderr,
        })
    }
}

fn lost() -> ExecError {
    ExecError::RuntimeLost(String::new())
}

impl ProcessControl {
    /// Sends a signal to the process, not to its children.
    ///
    /// # Errors
    /// If the number is that of no signal, or the kernel refuses.
    pub fn signal(&self, number: i32) -> Result<(), ExecError> {
        let unknown = std::io::Error::from(std::io::ErrorKind::InvalidInput);
        let signal = Signal::from_named_raw(number).ok_or(unknown);
        let signal = signal.doing("send a signal")?;
        match rustix::process::pidfd_send_signal(&*self.pidfd, signal) {
            Err(Errno::SRCH) => Ok(()),
            result => result.doing("send a signal"),
        }
    }

    /// Tells a terminal its size; the foreground processes get SIGWINCH. Nothing happens without.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), ExecError> {
        let Some(terminal) = &self.terminal else {
            return Ok(());
        };
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&**terminal, size).doing("resize a terminal")
    }
}

/// Returns the number of a signal by its name without prefix, such as `TERM` (row EXE-18).
#[must_use]
pub fn signal_number(name: &str) -> Option<i32> {
    let signal: nix::sys::signal::Signal = format!("SIG{name}").parse().ok()?;
    Some(signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_without_prefix() {
        for (name, number) in [
            ("INT", Some(2)),
            ("KILL", Some(9)),
            ("TERM", Some(15)),
            ("WINCH", Some(28)),
            ("SIGTERM", None),
            ("term", None),
            ("", None),
            ("9", None),
        ] {
            assert_eq!(signal_number(name), number, "{name}");
        }
    }
}
