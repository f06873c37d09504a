//! Serving a session to the daemon (rows SES-01 to SES-04, SVC-01 to SVC-21).
//!
//! The client calls `Control.Session`. Inside that call's stream of bytes the daemon opens an HTTP/2
//! connection, and this process is the server at its end:
//!
//! ```text
//! file_sync.rs   FileSync   directories of this host, filtered  (sending.rs, listing.rs)
//! file_send.rs   FileSend   results: one file, or a directory   (receive/ writes it)
//! auth.rs        Auth       registry credentials
//! secrets.rs     Secrets    by id
//! ssh.rs         SSH        agents and sockets
//! upload.rs      Upload     streams by URL
//! content.rs     Content    stores of blobs
//!                Health     that we are there
//! ```
//! What the daemon says is not trusted: it gets what the session offers and nothing else, and it
//! writes below the directories that the session names and nowhere else.

mod auth;
mod content;
mod error;
mod file_send;
mod file_sync;
mod listing;
mod metadata;
mod offer;
mod receive;
mod secrets;
mod sending;
mod ssh;
mod tunnel;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use lamina_proto::control;
use lamina_session::MessagePipe;
use lamina_session::Session;
use lamina_types::CancelToken;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::metadata::Ascii;
use tonic::metadata::MetadataMap;
use tonic::metadata::MetadataValue;

use crate::BuildRequest;
use crate::Client;
use crate::ClientError;

use offer::Offer;

/// Messages on their way to the daemon; more would only add memory.
const QUEUE: usize = 16;

/// Every method that is served, as announced to the daemon (rows SES-03, SES-04).
const METHODS: [&str; 14] = [
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.FileSend/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.Auth/FetchToken",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.sshforward.v1.SSH/CheckAgent",
    "/moby.sshforward.v1.SSH/ForwardAgent",
    "/moby.upload.v1.Upload/Pull",
    "/containerd.services.content.v1.Content/Info",
    "/containerd.services.content.v1.Content/Read",
    "/containerd.services.content.v1.Content/Write",
    "/containerd.services.content.v1.Content/Status",
    "/containerd.services.content.v1.Content/Abort",
    "/grpc.health.v1.Health/Check",
];

/// Serves the session of `request` until `stop` is cancelled or the daemon ends it.
///
/// # Errors
/// If the daemon refuses the session or cannot be reached.
pub(crate) async fn attach(
    client: &Client,
    request: &BuildRequest,
    stop: &CancelToken,
) -> Result<(), ClientError> {
    let session = Arc::clone(&request.session);
    let headers = headers(session.as_ref()).await?;
    let offer = Offer::new(session, request.mirrored(), stop.clone())?;
    let (outgoing, messages) = mpsc::channel::<Bytes>(QUEUE);
    let messages = ReceiverStream::new(messages).map(|data| control::BytesMessage { data });
    let mut call = Request::new(messages);
    *call.metadata_mut() = headers;
    let mut control = client.control();
    let answer = tokio::select! {
        answer = control.session(call) => client.answer(answer)?,
        () = stop.cancelled() => return Ok(()),
    };
    let ended = stop.clone();
    let closed = CancelToken::new();
    let open = closed.cancel_on_drop();
    let incoming = answer
        .map(move |message| {
            // Goes with the pipe.
            let _ = &open;
            message.map(|message| message.data)
        })
        .take_until(async move { ended.cancelled().await });
    tunnel::serve(MessagePipe::new(incoming, outgoing), closed, offer).await;
    Ok(())
}

/// Writes what the daemon learns of the session when it begins (row SES-03).
async fn headers(session: &dyn Session) -> Result<MetadataMap, ClientError> {
    let shared_key = session.shared_key().await?;
    let mut headers = MetadataMap::new();
    for (key, what, text) in [
        (
            "x-docker-expose-session-uuid",
            "the session id",
            session.id(),
        ),
        ("x-docker-expose-session-name", "the session name", ""),
        (
            "x-docker-expose-session-sharedkey",
            "the shared key",
            &shared_key[..],
        ),
    ] {
        headers.insert(key, header(what, text)?);
    }
    for method in METHODS {
        let method = MetadataValue::from_static(method);
        headers.append("x-docker-expose-session-grpc-method", method);
    }
    Ok(headers)
}

fn header(what: &'static str, text: &str) -> Result<MetadataValue<Ascii>, ClientError> {
    text.parse().map_err(|_| ClientError::NotAscii {
        what,
        text: text.to_owned(),
    })
}
