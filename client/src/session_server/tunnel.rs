//! The server at our end of the tunnel.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use futures_util::StreamExt as _;
use futures_util::stream;
use lamina_proto::content::content_server::ContentServer;
use lamina_proto::filesync::auth_server::AuthServer;
use lamina_proto::filesync::file_sync_server::FileSyncServer;
use lamina_proto::secrets::secrets_server::SecretsServer;
use lamina_proto::sshforward::ssh_server::SshServer;
use lamina_proto::upload::upload_server::UploadServer;
use lamina_session::MessagePipe;
use lamina_types::CancelToken;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::CONNECTION_WINDOW_BYTES;
use crate::MESSAGE_BYTES;
use crate::STREAM_WINDOW_BYTES;

use super::file_send::FileSend;
use super::offer::Offer;

/// Patterns of a large project travel in headers.
const HEADER_BYTES: u32 = 4 << 20;

/// Sets the limits of a service (row NET-04).
macro_rules! limited {
    ($server:ident, $offer:expr) => {
        $server::new($offer.clone())
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES)
    };
}

/// Serves one connection until it ends.
pub(super) async fn serve(pipe: MessagePipe, offer: Offer) {
    let closed = CancelToken::new();
    let tunnel = Tunnel {
        pipe,
        closed: closed.clone(),
    };
    let connection = stream::once(async move { Ok::<_, Infallible>(tunnel) });
    let (_health, health) = tonic_health::server::health_reporter();
    let served = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES)
        .add_service(health)
        .add_service(FileSend::new(offer.clone()))
        .add_service(limited!(FileSyncServer, offer))
        .add_service(limited!(AuthServer, offer))
        .add_service(limited!(SecretsServer, offer))
        .add_service(limited!(SshServer, offer))
        .add_service(limited!(UploadServer, offer))
        .add_service(limited!(ContentServer, offer))
        // The server goes when its connection has gone, and there will be no other.
        .serve_with_incoming_shutdown(connection.chain(stream::pending()), async move {
            closed.cancelled().await;
        })
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "the session's server failed");
    }
}

/// The connection inside a `Control.Session` call.
struct Tunnel {
    pipe: MessagePipe,
    closed: CancelToken,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl Connected for Tunnel {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
