//! What runtime and steps tell the daemon.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::channel;
use crate::wire::Report;

/// Receives a report; `None` when the other side is gone.
pub(super) async fn receive(socket: &UnixStream) -> io::Result<Option<Report>> {
    let received = receive_with_descriptors(socket).await?;
    Ok(received.map(|(report, _)| report))
}

/// Receives a report and what came along; `None` when the other side is gone.
pub(crate) async fn receive_with_descriptors(
    socket: &UnixStream,
) -> io::Result<Option<(Report, Vec<OwnedFd>)>> {
    let read = || channel::receive(socket);
    match socket.async_io(Interest::READABLE, read).await {
        Ok(Some((text, descriptors))) => Ok(Some((serde_json::from_slice(&text)?, descriptors))),
        Ok(None) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error),
    }
}
