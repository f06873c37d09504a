//! Streams of a process whose caller reads and writes them: pipes or a terminal.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lamina_types::CancelToken;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::Receiver;

use crate::ExecError;
use crate::error::Doing;
use crate::plan::Ends;
use crate::sys;

/// Bytes that a pipe should hold: what any user may have. Larger chunks cost fewer wake-ups.
const PIPE_BYTES: usize = 1 << 20;

/// Which streams of a process its caller has. The others are `/dev/null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessStreams {
    /// Pipes.
    Pipes {
        /// Standard input.
        stdin: bool,
        /// Standard output.
        stdout: bool,
        /// Standard error.
        stderr: bool,
    },
    /// A terminal: input, and all output as one stream of raw bytes (row EXE-19).
    Terminal,
}

/// Writes to a process.
#[derive(Debug)]
pub struct ProcessInput {
    fd: AsyncFd<OwnedFd>,
    ended: CancelToken,
}

/// Reads from a process.
#[derive(Debug)]
pub struct ProcessOutput {
    fd: AsyncFd<OwnedFd>,
    ended: CancelToken,
    /// What may still be read once the process has ended.
    left_bytes: usize,
}

/// All that is made for a process before it is started.
pub(super) struct Made {
    /// To be sent to it.
    pub(super) ends: Ends,
    /// Ends when its program starts.
    pub(super) started: Receiver,
    pub(super) ours: Ours,
}

/// Our ends.
pub(super) struct Ours {
    pub(super) stdin: Option<ProcessInput>,
    pub(super) stdout: Option<ProcessOutput>,
    pub(super) stderr: Option<ProcessOutput>,
    ended: CancelToken,
}

impl Made {
    /// Makes pipes; `ended` is cancelled when the process has ended.
    pub(super) fn new(streams: ProcessStreams, ended: &CancelToken) -> Result<Self, ExecError> {
        let (stdin, stdout, stderr) = match streams {
            ProcessStreams::Terminal => (false, false, false),
            ProcessStreams::Pipes {
                stdin,
                stdout,
                stderr,
            } => (stdin, stdout, stderr),
        };
        let (their_input, our_input) = input(stdin)?;
        let (their_output, our_output) = output(stdout)?;
        let (their_errors, our_errors) = output(stderr)?;
        let (started, their_start) = pipe()?;
        let read = |fd: Option<OwnedFd>| fd.map(|fd| ProcessOutput::new(fd, ended)).transpose();
        let write = |fd: Option<OwnedFd>| fd.map(|fd| ProcessInput::new(fd, ended)).transpose();
        Ok(Self {
            ends: Ends {
                standard: [their_input, their_output, their_errors],
                started: Some(their_start),
                terminal: streams == ProcessStreams::Terminal,
            },
            started: Receiver::from_owned_fd(started).doing(MAKE)?,
            ours: Ours {
                stdin: write(our_input)?,
                stdout: read(our_output)?,
                stderr: read(our_errors)?,
                ended: ended.clone(),
            },
        })
    }
}

const MAKE: &str = "make a pipe";

/// Returns their end and ours.
fn input(wanted: bool) -> Result<(OwnedFd, Option<OwnedFd>), ExecError> {
    if !wanted {
        return Ok((null()?, None));
    }
    let (theirs, ours) = wide_pipe()?;
    Ok((theirs, Some(ours)))
}

/// Returns their end and ours.
fn output(wanted: bool) -> Result<(OwnedFd, Option<OwnedFd>), ExecError> {
    if !wanted {
        return Ok((null()?, None));
    }
    let (ours, theirs) = wide_pipe()?;
    Ok((theirs, Some(ours)))
}

fn null() -> Result<OwnedFd, ExecError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(c"/dev/null", flags, Mode::empty()).doing("open /dev/null")
}

/// Returns the end to read from and the one to write to.
fn pipe() -> Result<(OwnedFd, OwnedFd), ExecError> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing(MAKE)
}

fn wide_pipe() -> Result<(OwnedFd, OwnedFd), ExecError> {
    let (read, write) = pipe()?;
    // A user with many pipes gets small ones, which work as well.
    rustix::pipe::fcntl_setpipe_size(&write, PIPE_BYTES).ok();
    Ok((read, write))
}

impl Ours {
    /// Puts a terminal in the place of pipes.
    pub(super) fn connect(&mut self, terminal: &Arc<OwnedFd>) -> Result<(), ExecError> {
        let clone = || terminal.try_clone().doing("share a terminal");
        self.stdin = Some(ProcessInput::new(clone()?, &self.ended)?);
        self.stdout = Some(ProcessOutput::new(clone()?, &self.ended)?);
        Ok(())
    }
}

impl ProcessInput {
    fn new(fd: OwnedFd, ended: &CancelToken) -> Result<Self, ExecError> {
        Ok(Self {
            fd: watched(fd, Interest::WRITABLE)?,
            ended: ended.clone(),
        })
    }

    /// Writes all of `data`. Waits as long as the process does not read.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] if the process has closed its end or has ended.
    pub async fn write_all(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let mut ready = tokio::select! {
                biased;
                () = self.ended.cancelled() => return Err(io::ErrorKind::BrokenPipe.into()),
                ready = self.fd.writable() => ready?,
            };
            match ready.try_io(|fd| Ok(rustix::io::write(fd, data)?)) {
                Ok(Ok(written)) => data = &data[written..],
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) if is_hang_up(&error) => {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
        Ok(())
    }
}

impl ProcessOutput {
    fn new(fd: OwnedFd, ended: &CancelToken) -> Result<Self, ExecError> {
        Ok(Self {
            fd: watched(fd, Interest::READABLE)?,
            ended: ended.clone(),
            left_bytes: PIPE_BYTES,
        })
    }

    /// Appends what there is to `buffer`, as much as fits in its spare capacity, and returns how
    /// much that was; 0 at the end.
    ///
    /// The end comes when all have closed the stream. When the process itself has ended, only what
    /// is already there is read: what it left running may hold the stream for ever.
    ///
    /// # Errors
    /// I/O errors.
    pub async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            let mut ready = tokio::select! {
                biased;
                () = self.ended.cancelled() => return self.read_rest(buffer),
                ready = self.fd.readable() => ready?,
            };
            let read = |fd: &AsyncFd<OwnedFd>| Ok(read_now(fd, buffer)?);
            match ready.try_io(read) {
                Ok(Ok(length)) => return Ok(length),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) if is_hang_up(&error) => return Ok(0),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }

    /// Asks the kernel itself: the runtime may not have heard yet of what came last.
    fn read_rest(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            match read_now(&self.fd, buffer) {
                Ok(length) if length <= self.left_bytes => {
                    self.left_bytes -= length;
                    return Ok(length);
                }
                Ok(_) | Err(Errno::AGAIN | Errno::IO) => return Ok(0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn read_now(fd: &AsyncFd<OwnedFd>, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
    rustix::io::read(fd, rustix::buffer::spare_capacity(buffer))
}

/// A terminal says so when nobody has its other side any more, a pipe when nobody reads.
fn is_hang_up(error: &io::Error) -> bool {
    [Errno::IO, Errno::PIPE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn watched(fd: OwnedFd, interest: Interest) -> Result<AsyncFd<OwnedFd>, ExecError> {
    rustix::io::ioctl_fionbio(&fd, true).doing(MAKE)?;
    sys::watch(fd, interest).doing("watch a stream")
}
