//! The output of a step, passed on as it comes.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use lamina_types::CancelToken;
use lamina_types::LogStream;
use lamina_types::Progress;
use rustix::io::Errno;
use tokio::net::unix::pipe::Receiver;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 32 * 1024;

/// Passes on what arrives in `pipe` until everybody has closed it. Once `ended` is cancelled, only
/// what is already there is read: whoever still holds the pipe then is no part of the step.
pub(crate) async fn follow(
    pipe: Receiver,
    stream: LogStream,
    progress: &Progress,
    ended: &CancelToken,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let readable = tokio::select! {
            biased;
            () = ended.cancelled() => false,
            ready = pipe.readable() => { ready?; true }
        };
        if !readable {
            return drain(&pipe, stream, progress, &mut buffer);
        }
        match pipe.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                progress.log(stream, &buffer[..length]);
                caught_up(progress).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// How long a step that writes too fast is left waiting before it is looked at again.
const PAUSE: Duration = Duration::from_millis(1);

/// Waits until what was told is being taken: meanwhile the pipe is full, and the step waits too.
async fn caught_up(progress: &Progress) {
    while progress.is_behind() {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks the kernel itself: the runtime may not have heard yet of what came last.
fn drain(
    pipe: &Receiver,
    stream: LogStream,
    progress: &Progress,
    buffer: &mut [u8],
) -> io::Result<()> {
    loop {
        match rustix::io::read(pipe.as_fd(), &mut *buffer) {
            Ok(0) | Err(Errno::AGAIN) => return Ok(()),
            Ok(length) => progress.log(stream, &buffer[..length]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
