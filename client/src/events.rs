//! Where the progress of a build goes.

use lamina_proto::control::StatusResponse;
use tokio::sync::mpsc;

/// Takes the messages of a build: the sending half of either kind of channel.
///
/// With a bounded one a receiver that is slow holds up nothing but the stream: the daemon keeps what comes
/// next on disk. With an unbounded one it is kept here.
#[derive(Clone, Debug)]
pub struct StatusSender(Channel);

#[derive(Clone, Debug)]
enum Channel {
    Bounded(mpsc::Sender<StatusResponse>),
    Unbounded(mpsc::UnboundedSender<StatusResponse>),
}

impl From<mpsc::Sender<StatusResponse>> for StatusSender {
    fn from(sender: mpsc::Sender<StatusResponse>) -> Self {
        Self(Channel::Bounded(sender))
    }
}

impl From<mpsc::UnboundedSender<StatusResponse>> for StatusSender {
    fn from(sender: mpsc::UnboundedSender<StatusResponse>) -> Self {
        Self(Channel::Unbounded(sender))
    }
}

impl StatusSender {
    /// Sends a message once there is room for it; returns whether somebody wants more.
    pub(crate) async fn send(&self, message: StatusResponse) -> bool {
        match &self.0 {
            Channel::Bounded(sender) => sender.send(message).await.is_ok(),
            Channel::Unbounded(sender) => sender.send(message).is_ok(),
        }
    }
}
