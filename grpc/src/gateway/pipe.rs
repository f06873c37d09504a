//! LLBBridge on a frontend's standard input and output (rows NET-06, FGW-07).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream;
use lamina_llb::Bridge;
use lamina_llb::BridgeServer;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Pipe;
use lamina_session::CONNECTION_WINDOW_BYTES;
use lamina_session::STREAM_WINDOW_BYTES;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::sync::oneshot;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use super::DrivenBuild;
use super::Gateway;
use super::GatewayService;

/// Serves LLBBridge and health on a frontend's pipe (row NET-06).
///
/// Calls are answered until the program closes its end, also after it has returned: it has to see
/// the answer to that, and may still say something.
#[derive(Clone, Copy, Debug, Default)]
pub struct PipeServer;

#[async_trait]
impl BridgeServer for PipeServer {
    async fn serve(
        &self,
        bridge: Arc<dyn Bridge>,
        pipe: Pipe,
    ) -> Option<Result<BuildResult, BuildError>> {
        let build = Arc::new(DrivenBuild::new(bridge));
        let gateway = Gateway::new(GatewayService::of(Arc::clone(&build)));
        let (_, health) = tonic_health::server::health_reporter();
        let routes = Routes::new(gateway).add_service(health);
        let (open, closed) = oneshot::channel::<()>();
        let connection = PipeConnection { pipe, _open: open };
        // The server does not wait for its connections: the end of the only one is told by what
        // is dropped with it.
        let one = stream::iter([Ok::<_, io::Error>(connection)]).chain(stream::pending());
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        tokio::select! {
            served = server.serve_with_incoming(routes.prepare(), one) => {
                if let Err(error) = served {
                    tracing::debug!(%error, "a frontend's pipe failed");
                }
            }
            // Never sent, so this is the drop.
            _ = closed => {}
        }
        build.containers.close();
        build.outcome().get()
    }
}

/// A pipe as a connection.
struct PipeConnection {
    pipe: Pipe,
    _open: oneshot::Sender<()>,
}

impl Connected for PipeConnection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for PipeConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe.reader).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PipeConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe.writer).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe.writer).poll_shutdown(cx)
    }
}
