//! The standard streams of a frontend as a connection.

use std::io;
use std::os::fd::AsFd;

use tokio::net::unix::pipe;
use tonic::transport::Channel;

use super::PEER;
use crate::ClientError;
use crate::connect::over;
use crate::error::innermost;

/// Connects over standard input and output, once.
pub(super) async fn connect() -> Result<Channel, ClientError> {
    let reader = duplicate(io::stdin()).and_then(pipe::Receiver::from_owned_fd);
    let reader = reader.map_err(no_pipe("input"))?;
    let writer = duplicate(io::stdout()).and_then(pipe::Sender::from_owned_fd);
    let writer = writer.map_err(no_pipe("output"))?;
    over(tokio::io::join(reader, writer), PEER).await
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
