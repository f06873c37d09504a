//! A result as one stream of bytes to the client (row SVC-09).
//!
//! The exporter writes from the pool of blocking work, the call is a task of the runtime, and a
//! short channel between them makes a slow client slow the exporter down. The end of the stream is
//! a message of the channel, because an exporter that gives up just drops its end.

use std::collections::BTreeMap;
use std::io;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use bytes::BytesMut;
use futures_util::Stream;
use futures_util::StreamExt;
use lamina_proto::filesync::BytesMessage;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tonic::Code;
use tonic::Request;
use tonic::Status;
use tonic::client::Grpc;

use super::MESSAGE_LIMIT;
use super::codec::BreakableCodec;
use super::files::EXPORTER_KEY;
use super::files::SEND_PATH;
use super::link::Link;
use super::metadata;
use crate::FileTarget;
use crate::SessionError;

/// Size of messages: stock clients take up to 4 MiB, and more than one is on its way at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Messages between the exporter and the call.
const CHUNKS_AHEAD: usize = 2;

/// Keys of the exporter's response are sent with this before them.
const RESPONSE_PREFIX: &str = "exporter-md-";

/// Starts to send the result of an exporter. The client may refuse at any time; that shows when the
/// target is written or finished.
pub(super) fn open(
    link: &Link,
    exporter: usize,
    response: &BTreeMap<String, String>,
) -> Result<Box<dyn FileTarget>, SessionError> {
    let (chunks, queue) = mpsc::channel(CHUNKS_AHEAD);
    let complete = Arc::new(AtomicBool::new(false));
    let mut call = Request::new(messages(queue, Arc::clone(&complete)));
    metadata::append(call.metadata_mut(), EXPORTER_KEY, &exporter.to_string());
    for (key, value) in response {
        let key = format!("{RESPONSE_PREFIX}{key}");
        metadata::append(call.metadata_mut(), &key, value);
    }
    let (done, outcome) = oneshot::channel();
    let link = link.clone();
    tokio::spawn(async move {
        // The exporter may have given up meanwhile.
        drop(done.send(deliver(&link, call, &complete).await));
    });
    Ok(Box::new(Archive {
        buffer: BytesMut::new(),
        call: Call::Open { chunks, outcome },
    }))
}

enum Chunk {
    Data(Bytes),
    End,
}

/// The messages of the call; one that was not ended is broken off. Sets `complete` at the end.
fn messages(
    queue: mpsc::Receiver<Chunk>,
    complete: Arc<AtomicBool>,
) -> impl Stream<Item = Result<BytesMessage, Status>> + Send + 'static {
    futures_util::stream::unfold(Some((queue, complete)), |state| async {
        let (mut queue, complete) = state?;
        match queue.recv().await {
            Some(Chunk::Data(data)) => Some((Ok(BytesMessage { data }), Some((queue, complete)))),
            Some(Chunk::End) => {
                complete.store(true, Ordering::Release);
                None
            }
            None => Some((Err(Status::cancelled("the exporter gave up")), None)),
        }
    })
}

/// Makes the call and waits for the client's end of it.
async fn deliver(
    link: &Link,
    call: Request<impl Stream<Item = Result<BytesMessage, Status>> + Send + 'static>,
    complete: &AtomicBool,
) -> Result<(), SessionError> {
    match link.call(send(link, call)).await? {
        Ok(()) if !complete.load(Ordering::Acquire) => Err(super::refusal(
            "the client stopped before the end of the result",
        )),
        // The client has it already, and nothing is wrong with that.
        Err(status) if status.code() == Code::AlreadyExists => Ok(()),
        answer => answer.map_err(SessionError::from_status),
    }
}

async fn send(
    link: &Link,
    call: Request<impl Stream<Item = Result<BytesMessage, Status>> + Send + 'static>,
) -> Result<(), Status> {
    let mut grpc = Grpc::new(link.channel())
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    grpc.ready()
        .await
        .map_err(|error| Status::from_error(error.into()))?;
    let codec = BreakableCodec::<BytesMessage, BytesMessage>::default();
    let answer = grpc.streaming(call, SEND_PATH, codec).await?;
    let mut answer = answer.into_inner();
    while let Some(message) = answer.next().await {
        message?;
    }
    Ok(())
}

/// The exporter's end.
struct Archive {
    buffer: BytesMut,
    call: Call,
}

enum Call {
    Open {
        chunks: mpsc::Sender<Chunk>,
        outcome: oneshot::Receiver<Result<(), SessionError>>,
    },
    /// The client wants no more, and is content.
    Content,
    /// The client failed, which was told.
    Failed,
}

impl Archive {
    /// Hands a chunk over, and waits while the client is slow.
    fn push(&mut self, chunk: Chunk) -> Result<(), SessionError> {
        match &mut self.call {
            Call::Content => Ok(()),
            Call::Failed => Err(super::refusal("the client has refused the result")),
            Call::Open { chunks, .. } => match chunks.blocking_send(chunk) {
                Ok(()) => Ok(()),
                Err(_) => self.settle(),
            },
        }
    }

    /// Waits for the end of the call.
    fn settle(&mut self) -> Result<(), SessionError> {
        let Call::Open { chunks, outcome } = std::mem::replace(&mut self.call, Call::Failed) else {
            return Ok(());
        };
        let outcome = outcome.blocking_recv();
        drop(chunks);
        outcome.unwrap_or_else(|_| Err(super::refusal("the transfer was stopped")))?;
        self.call = Call::Content;
        Ok(())
    }

    fn push_buffer(&mut self) -> Result<(), SessionError> {
        let data = self.buffer.split().freeze();
        if data.is_empty() {
            return Ok(());
        }
        self.push(Chunk::Data(data))
    }
}

impl Write for Archive {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let length = data.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&data[..length]);
        if self.buffer.len() == CHUNK_BYTES {
            self.push_buffer().map_err(io::Error::other)?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.push_buffer().map_err(io::Error::other)
    }
}

impl FileTarget for Archive {
    fn finish(mut self: Box<Self>) -> Result<(), SessionError> {
        self.push_buffer()?;
        self.push(Chunk::End)?;
        match self.call {
            Call::Content => Ok(()),
            _ => self.settle(),
        }
    }
}
