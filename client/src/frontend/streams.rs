//! The standard streams of a frontend as a connection.

use std::io;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::PoisonError;

use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::unix::pipe;
use tonic::transport::Channel;
use tonic::transport::Endpoint;

use super::PEER;
use crate::ClientError;
use crate::connect::tuned;
use crate::error::innermost;

/// Connects over standard input and output, once.
pub(super) async fn connect() -> Result<Channel, ClientError> {
    let reader = duplicate(io::stdin()).and_then(pipe::Receiver::from_owned_fd);
    let reader = reader.map_err(no_pipe("input"))?;
    let writer = duplicate(io::stdout()).and_then(pipe::Sender::from_owned_fd);
    let writer = writer.map_err(no_pipe("output"))?;
    over(tokio::io::join(reader, writer)).await
}

fn duplicate(stream: impl AsFd) -> io::Result<std::os::fd::OwnedFd> {
    stream.as_fd().try_clone_to_owned()
}

fn no_pipe(stream: &'static str) -> impl FnOnce(io::Error) -> ClientError {
    move |error| ClientError::Pipe {
        stream,
        reason: innermost(&error),
    }
}

/// Connects over a stream that is there already; when it ends, there is no other.
async fn over<S>(stream: S) -> Result<Channel, ClientError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let only = Mutex::new(Some(stream));
    let take = tower::service_fn(move |_: http::Uri| {
        let stream = only.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ended = || io::Error::new(io::ErrorKind::BrokenPipe, "the daemon closed the pipe");
        std::future::ready(stream.map(TokioIo::new).ok_or_else(ended))
    });
    // Nobody looks at the name of the host.
    let endpoint = tuned(Endpoint::from_static("http://localhost"));
    let connected = endpoint.connect_with_connector(take).await;
    connected.map_err(|error| ClientError::Unreachable {
        address: PEER.to_owned(),
        reason: innermost(&error),
    })
}
