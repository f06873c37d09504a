//! Agents, sockets and uploads: bytes inside messages (rows SVC-15 to SVC-17).

use std::io;

use futures_util::StreamExt;
use futures_util::TryStreamExt;
use lamina_proto::sshforward;
use lamina_proto::sshforward::CheckAgentRequest;
use lamina_proto::sshforward::ssh_client::SshClient;
use lamina_proto::upload;
use lamina_proto::upload::upload_client::UploadClient;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;
use tonic::Code;
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;

use super::MESSAGES_AHEAD;
use super::client;
use super::is_absent;
use super::link::Link;
use crate::Duplex;
use crate::MessagePipe;
use crate::SessionError;

/// What a mount without an id means.
const DEFAULT_AGENT: &str = "default";

fn agent(id: &str) -> &str {
    if id.is_empty() { DEFAULT_AGENT } else { id }
}

pub(super) async fn check_ssh(link: &Link, id: &str) -> Result<(), SessionError> {
    let mut client = client!(SshClient, link);
    let id = agent(id).to_owned();
    let call = client.check_agent(CheckAgentRequest { id: id.clone() });
    match link.call(call).await? {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::Unimplemented => {
            Err(SessionError::NoSuchAgent { id })
        }
        Err(status) => Err(SessionError::from_status(status)),
    }
}

/// An agent speaks only when spoken to, and so may the answer to the call: a refusal shows when the
/// connection is read. An id that cannot be sent must not be left out: that would mean the default.
pub(super) fn connect_ssh(link: &Link, id: &str) -> Result<Box<dyn Duplex>, SessionError> {
    let id = agent(id);
    let unknown = |_| SessionError::NoSuchAgent { id: id.to_owned() };
    let value = AsciiMetadataValue::try_from(id).map_err(unknown)?;
    let (sink, messages) = mpsc::channel(MESSAGES_AHEAD);
    let messages = ReceiverStream::new(messages).map(|data| sshforward::BytesMessage { data });
    let mut call = Request::new(messages);
    call.metadata_mut().append("buildkit.ssh.id", value);
    let mut client = client!(SshClient, link);
    let answer = link.start(async move { client.forward_agent(call).await });
    let data = answer.map_ok(|message| message.data);
    Ok(Box::new(MessagePipe::new(data, sink)))
}

pub(super) async fn upload(
    link: &Link,
    host: &str,
    path: &str,
) -> Result<Box<dyn AsyncRead + Send + Unpin>, SessionError> {
    let unknown = || SessionError::NoSuchUpload {
        url: format!("http://{host}{path}"),
    };
    let nothing = futures_util::stream::empty::<upload::BytesMessage>();
    let mut call = Request::new(nothing);
    for (key, text) in [("urlpath", path), ("urlhost", host)] {
        let value = AsciiMetadataValue::try_from(text).map_err(|_| unknown())?;
        call.metadata_mut().append(key, value);
    }
    let mut client = client!(UploadClient, link);
    match link.call(client.pull(call)).await? {
        Ok(answer) => {
            let messages = link.messages(answer.into_inner());
            Ok(Box::new(reader(messages.map_ok(|message| message.data))))
        }
        Err(status) if is_absent(status.code()) => Err(unknown()),
        Err(status) => Err(SessionError::from_status(status)),
    }
}

/// Reads messages as bytes.
pub(super) fn reader(
    messages: impl futures_util::Stream<Item = Result<bytes::Bytes, tonic::Status>> + Send + Unpin,
) -> impl AsyncRead + Send + Unpin {
    StreamReader::new(
        messages.map_err(|status| io::Error::other(SessionError::from_status(status))),
    )
}
