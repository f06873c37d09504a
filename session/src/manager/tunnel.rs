//! HTTP/2 inside a session's tunnel (row SES-01): the daemon calls, the client serves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;

use hyper_util::rt::TokioIo;
use lamina_types::CancelToken;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::sync::oneshot;
use tonic::transport::Channel;
use tonic::transport::Endpoint;

use crate::Duplex;
use crate::SessionError;

/// What calls are addressed to; there is only one other end.
const AUTHORITY: &str = "http://localhost";

/// How much of one stream may be on its way unread; a smaller window than what the line holds would
/// leave it idle. This, and not the next, bounds memory.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// How much of all streams may be on its way unread. The h2 crate closes a connection on which too
/// many small frames are unread: one of fewer than 256 bytes costs what it lacks of them, and half
/// of this window may be spent. Stock clients send each directory entry in a frame of its own, so
/// a stream full of the smallest messages, 31 times its window, must fit several times. Whoever
/// serves or calls over HTTP/2 with many small messages needs the same two.
pub const CONNECTION_WINDOW_BYTES: u32 = 256 << 20;

/// Clients send error details in headers.
const HEADER_BYTES: u32 = 1 << 20;

/// Starts HTTP/2 over the tunnel, and closes it when the session has `ended`. The receiver answers,
/// with an error, once the tunnel is closed from either side.
pub(super) async fn connect(
    tunnel: Box<dyn Duplex>,
    ended: CancelToken,
) -> Result<(Channel, oneshot::Receiver<()>), SessionError> {
    let (closing, closed) = oneshot::channel();
    let tunnel = Tunnel {
        stream: tunnel,
        ended: Some(Box::pin(async move { ended.cancelled().await })),
        _closing: closing,
    };
    let once = Arc::new(Mutex::new(Some(TokioIo::new(tunnel))));
    let connector = tower::service_fn(move |_| {
        let tunnel = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A session that has ended is not connected again.
        std::future::ready(tunnel.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
    });
    let channel = Endpoint::from_static(AUTHORITY)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES)
        .connect_with_connector(connector)
        .await
        .map_err(|error| SessionError::Remote {
            message: format!("the session's tunnel: {error}"),
            gone: true,
        })?;
    Ok((channel, closed))
}

/// The tunnel, which breaks with the session, and tells when HTTP/2 has let go of it.
struct Tunnel {
    stream: Box<dyn Duplex>,
    /// `None` = the session has ended.
    ended: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _closing: oneshot::Sender<()>,
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let ended = self.ended.as_mut();
        if ended.is_none_or(|ended| ended.as_mut().poll(cx).is_ready()) {
            self.ended = None;
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
