//! Agents and sockets (rows SVC-15, SVC-16): a tunnel of bytes for each connection.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt as _;
use lamina_proto::sshforward::BytesMessage;
use lamina_proto::sshforward::CheckAgentRequest;
use lamina_proto::sshforward::CheckAgentResponse;
use lamina_proto::sshforward::ssh_server::Ssh;
use lamina_session::MessagePipe;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::async_trait;

use super::QUEUE;
use super::error::status;
use super::metadata;
use super::offer::Offer;

/// Says which agent or socket is meant.
const ID_KEY: &str = "buildkit.ssh.id";

/// What it is if the daemon does not say.
const DEFAULT_ID: &str = "default";

#[async_trait]
impl Ssh for Offer {
    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        let id = or_default(request.into_inner().id);
        self.session.check_ssh(&id).await.map_err(status)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    type ForwardAgentStream = Pin<Box<dyn Stream<Item = Result<BytesMessage, Status>> + Send>>;

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = or_default(metadata::first(request.metadata(), ID_KEY));
        let mut socket = self.session.connect_ssh(&id).await.map_err(status)?;
        let incoming = request.into_inner();
        let incoming = incoming.map(|message| message.map(|message| message.data));
        let (outgoing, messages) = mpsc::channel::<Bytes>(QUEUE);
        let mut pipe = MessagePipe::new(incoming, outgoing);
        tokio::spawn(async move {
            let copied = tokio::io::copy_bidirectional(&mut pipe, &mut socket).await;
            tracing::debug!(%id, ok = copied.is_ok(), "forwarded connection ended");
        });
        let messages = ReceiverStream::new(messages).map(|data| Ok(BytesMessage { data }));
        Ok(Response::new(Box::pin(messages)))
    }
}

fn or_default(id: String) -> String {
    if id.is_empty() {
        return DEFAULT_ID.to_owned();
    }
    id
}
