//! The standard streams of a step.

use std::os::fd::OwnedFd;

use lamina_types::CancelToken;
use lamina_types::LogStream;
use lamina_types::Progress;
use rustix::pipe::PipeFlags;
use tokio::net::unix::pipe::Receiver;
use tokio::net::unix::pipe::Sender;

use crate::ExecError;
use crate::error::Doing;
use crate::output;

/// The streams of one step: its ends, and those of ours that are logged.
pub(crate) struct Streams {
    /// Standard input, output and error, to be sent to it.
    pub(crate) theirs: [OwnedFd; 3],
    pub(crate) logged: Logged,
}

/// What of a step's output is logged.
pub(crate) struct Logged {
    stdout: Option<Receiver>,
    stderr: Receiver,
}

impl Streams {
    /// Nothing to read, and all that the step writes is logged.
    pub(crate) fn logged() -> Result<Self, ExecError> {
        let (streams, input, stdout) = Self::piped()?;
        drop(input);
        let Self { theirs, logged } = streams;
        let logged = Logged {
            stdout: Some(stdout),
            ..logged
        };
        Ok(Self { theirs, logged })
    }

    /// The caller has standard input and output; errors are logged.
    pub(crate) fn piped() -> Result<(Self, Sender, Receiver), ExecError> {
        let (stdin, input) = pipe()?;
        let (output, stdout) = pipe()?;
        let (errors, stderr) = pipe()?;
        let logged = Logged {
            stdout: None,
            stderr: Receiver::from_owned_fd(errors).doing("make a pipe")?,
        };
        let streams = Self {
            theirs: [stdin, stdout, stderr],
            logged,
        };
        let input = Sender::from_owned_fd(input).doing("make a pipe")?;
        let output = Receiver::from_owned_fd(output).doing("make a pipe")?;
        Ok((streams, input, output))
    }
}

impl Logged {
    /// Passes on what arrives until the step has closed it, or `ended` is cancelled.
    pub(crate) async fn follow(
        self,
        progress: &Progress,
        ended: &CancelToken,
    ) -> std::io::Result<()> {
        let Self { stdout, stderr } = self;
        let stdout = async {
            match stdout {
                Some(pipe) => output::follow(pipe, LogStream::Stdout, progress, ended).await,
                None => Ok(()),
            }
        };
        let stderr = output::follow(stderr, LogStream::Stderr, progress, ended);
        let (stdout, stderr) = tokio::join!(stdout, stderr);
        stdout.and(stderr)
    }
}

/// Returns the end to read from and the one to write to.
fn pipe() -> Result<(OwnedFd, OwnedFd), ExecError> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing("make a pipe")
}
