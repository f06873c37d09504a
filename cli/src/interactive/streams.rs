//! Threads that wait for the standard streams.

use std::io;
use std::io::Read as _;
use std::io::Write as _;

use lamina_client::Bytes;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 128 << 10;

/// Chunks that wait for the other side.
const QUEUED: usize = 8;

/// Returns what comes on standard input, until its end. The thread that reads it lives as long as
/// the command, since nothing can wake it.
pub(super) fn keyboard() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(QUEUED);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read = match io::stdin().read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let data = Bytes::copy_from_slice(&buffer[..read]);
            if sender.blocking_send(data).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Standard output and error.
pub(super) struct Screen {
    shown: mpsc::Sender<(bool, Bytes)>,
    finished: oneshot::Receiver<()>,
}

impl Screen {
    /// Starts the thread that writes.
    pub(super) fn open() -> Self {
        let (shown, mut queue) = mpsc::channel::<(bool, Bytes)>(QUEUED);
        let (done, finished) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            while let Some((is_error, data)) = queue.blocking_recv() {
                // Whoever has closed the stream wants to see no more.
                write(is_error, &data).ok();
            }
            drop(done);
        });
        Self { shown, finished }
    }

    /// Writes to standard output or error; waits if that is not read.
    pub(super) async fn show(&self, is_error: bool, data: Bytes) {
        drop(self.shown.send((is_error, data)).await);
    }

    /// Waits until all is written.
    pub(super) async fn finish(self) {
        drop(self.shown);
        // Never sent, so this is the drop.
        drop(self.finished.await);
    }
}

fn write(is_error: bool, data: &[u8]) -> io::Result<()> {
    if is_error {
        let mut stream = io::stderr().lock();
        return stream.write_all(data).and_then(|()| stream.flush());
    }
    let mut stream = io::stdout().lock();
    stream.write_all(data).and_then(|()| stream.flush())
}
