//! Calls as no well-behaved client makes them, and sessions that answer as told.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use hyper_util::rt::TokioIo;
use lamina_proto::control;
use lamina_proto::control::control_client::ControlClient;
use lamina_proto::pb;
use lamina_session::MessagePipe;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::transport::Endpoint;

use super::rig::Daemon;

/// What a test is patient for; only a failure takes that long.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Windows for packets that nobody reads; the usual ones are too small for many.
const WINDOW_BYTES: u32 = 1 << 20;

/// Runs a test's calls.
#[track_caller]
pub(super) fn block_on<T>(calls: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let limited = runtime.block_on(async { tokio::time::timeout(PATIENCE, calls).await });
    // What a test left behind does not hold it up.
    runtime.shutdown_background();
    limited.expect("all answers in time")
}

/// Connects without any of our client's ways.
pub(super) async fn connect(daemon: &Daemon) -> Channel {
    let socket: PathBuf = daemon.socket();
    let dial = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    let connected = endpoint.connect_with_connector(dial).await;
    connected.expect("the daemon listens")
}

/// Asks for a build.
pub(super) async fn solve(
    channel: &Channel,
    id: &str,
    session: &str,
    definition: Option<pb::Definition>,
) -> Result<control::SolveResponse, Status> {
    let request = control::SolveRequest {
        r#ref: id.to_owned(),
        session: session.to_owned(),
        definition,
        ..control::SolveRequest::default()
    };
    let answer = ControlClient::new(channel.clone()).solve(request).await;
    answer.map(tonic::Response::into_inner)
}

/// Offers a session with these services, until the returned future is dropped or the daemon ends it.
pub(super) async fn attach(
    channel: Channel,
    id: &str,
    services: Routes,
) -> impl Future<Output = ()> + Send + 'static {
    let (outgoing, messages) = mpsc::channel::<Bytes>(16);
    let messages = ReceiverStream::new(messages).map(|data| control::BytesMessage { data });
    let mut call = Request::new(messages);
    let headers = call.metadata_mut();
    headers.insert(
        "x-docker-expose-session-uuid",
        id.parse().expect("a header"),
    );
    for method in [
        "/moby.filesync.v1.FileSync/DiffCopy",
        "/moby.filesync.v1.FileSend/DiffCopy",
    ] {
        let method = method.parse().expect("a header");
        headers.append("x-docker-expose-session-grpc-method", method);
    }
    let answer = ControlClient::new(channel).session(call).await;
    let incoming = answer.expect("the session is taken").into_inner();
    let incoming = incoming.map(|message| message.map(|message| message.data));
    let tunnel = MessagePipe::new(incoming, outgoing);
    let connection = stream::iter([Ok::<_, io::Error>(tunnel)]).chain(stream::pending());
    async move {
        let server = tonic::transport::Server::builder()
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .add_routes(services);
        drop(server.serve_with_incoming(connection).await);
    }
}
