//! The server at our end of the tunnel.

use std::convert::Infallible;

use futures_util::StreamExt as _;
use futures_util::stream;
use lamina_proto::content::content_server::ContentServer;
use lamina_proto::filesync::auth_server::AuthServer;
use lamina_proto::filesync::file_sync_server::FileSyncServer;
use lamina_proto::secrets::secrets_server::SecretsServer;
use lamina_proto::sshforward::ssh_server::SshServer;
use lamina_proto::upload::upload_server::UploadServer;
use lamina_session::CONNECTION_WINDOW_BYTES;
use lamina_session::MessagePipe;
use lamina_session::STREAM_WINDOW_BYTES;
use lamina_types::CancelToken;
use tonic::transport::Server;

use crate::MESSAGE_BYTES;

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

/// Serves one connection until it is `closed`, which the pipe's owner tells.
pub(super) async fn serve(pipe: MessagePipe, closed: CancelToken, offer: Offer) {
    let connection = stream::once(async move { Ok::<_, Infallible>(pipe) });
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
