//! A byte stream over a stream of messages, as the session tunnel and socket forwarding need.
//!
//! HTTP/2 of a session runs inside the messages of `Control.Session` (row SES-01), and a forwarded
//! socket inside those of `SSH.ForwardAgent` (row SVC-16). [`MessagePipe`] makes both look like a
//! socket. A write waits until the sink has room, so a slow reader slows the writer down and
//! nothing piles up in between.
//!
//! ```
//! use bytes::Bytes;
//! use lamina_session::MessagePipe;
//! use tokio::io::AsyncReadExt;
//! use tokio::io::AsyncWriteExt;
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let incoming = futures_util::stream::iter([Ok(Bytes::from("he")), Ok(Bytes::from("llo"))]);
//! let (sink, mut sent) = tokio::sync::mpsc::channel(4);
//! let mut pipe = MessagePipe::new(incoming, sink);
//!
//! let mut text = String::new();
//! pipe.read_to_string(&mut text).await.unwrap();
//! assert_eq!(text, "hello");
//!
//! pipe.write_all(b"bye").await.unwrap();
//! pipe.shutdown().await.unwrap();
//! assert_eq!(sent.recv().await.as_deref(), Some(&b"bye"[..]));
//! assert_eq!(sent.recv().await, None);
//! # });
//! ```

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Buf;
use bytes::Bytes;
use futures_util::Stream;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;
use tonic::Code;
use tonic::Status;
use tonic::transport::server::Connected;

/// Longest message that a pipe writes: two HTTP/2 frames of the usual size, and what Go's clients
/// have as their buffer for reading.
const MESSAGE_BYTES: usize = 32 << 10;

/// Empty messages in a row before other tasks get their turn.
const EMPTY_MESSAGES: usize = 32;

/// Reads messages as bytes and writes bytes as messages.
pub struct MessagePipe {
    incoming: Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>,
    /// What is left of the last message.
    unread: Bytes,
    ended: bool,
    outgoing: PollSender<Bytes>,
}

impl MessagePipe {
    /// Makes a pipe of what comes in and a sink for what goes out. The end of `incoming` is the end
    /// of the pipe; dropping the pipe, or shutting it down, closes `outgoing`.
    pub fn new(
        incoming: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
        outgoing: mpsc::Sender<Bytes>,
    ) -> Self {
        Self {
            incoming: Box::pin(incoming),
            unread: Bytes::new(),
            ended: false,
            outgoing: PollSender::new(outgoing),
        }
    }

    /// Waits for the next message that is not empty; leaves `unread` empty at the end.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..EMPTY_MESSAGES {
            if self.ended || !self.unread.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.incoming.as_mut().poll_next(cx)) {
                Some(Ok(message)) => self.unread = message,
                Some(Err(status)) => {
                    self.ended = true;
                    return Poll::Ready(Err(broken(&status)));
                }
                None => self.ended = true,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn broken(status: &Status) -> io::Error {
    let kind = match status.code() {
        Code::Cancelled | Code::Unavailable => io::ErrorKind::ConnectionReset,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, status.message().to_owned())
}

/// A server takes it as a connection of which nothing is known.
impl Connected for MessagePipe {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for MessagePipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_message(cx))?;
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..length]);
        self.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MessagePipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.outgoing.poll_reserve(cx)).map_err(closed)?;
        let length = data.len().min(MESSAGE_BYTES);
        let message = Bytes::copy_from_slice(&data[..length]);
        self.outgoing.send_item(message).map_err(closed)?;
        Poll::Ready(Ok(length))
    }

    /// A written message is on its way already.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.close();
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for MessagePipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessagePipe")
            .field("unread", &self.unread.len())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
