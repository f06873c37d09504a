//! Stores of blobs at the client, by containerd's content service (row SVC-19).

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use bytes::BytesMut;
use futures_util::StreamExt;
use lamina_proto::content::AbortRequest;
use lamina_proto::content::InfoRequest;
use lamina_proto::content::ReadContentRequest;
use lamina_proto::content::ReadContentResponse;
use lamina_proto::content::WriteAction;
use lamina_proto::content::WriteContentRequest;
use lamina_proto::content::WriteContentResponse;
use lamina_proto::content::content_client::ContentClient;
use lamina_types::Digest;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::Request;
use tonic::Status;

use super::client;
use super::link::Link;
use super::link::Messages;
use super::metadata;
use super::streams;
use crate::BlobReader;
use crate::BlobStore;
use crate::SessionError;
use crate::StoreId;

/// Chooses among the client's stores.
const STORE_KEY: &str = "buildkit-attachable-store-id";

/// Size of messages; stock clients take up to 4 MiB.
const CHUNK_BYTES: usize = 1 << 20;

/// How a client that has no such store begins its answer.
const UNKNOWN_STORE: &str = "unknown store";

/// One store of one client.
pub(super) struct RemoteBlobs {
    link: Link,
    store: String,
}

impl RemoteBlobs {
    pub(super) fn new(link: Link, store: &StoreId) -> Result<Self, SessionError> {
        let store = store.wire_name();
        if !store.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(SessionError::NoSuchStore { id: store });
        }
        Ok(Self { link, store })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        metadata::append(request.metadata_mut(), STORE_KEY, &self.store);
        request
    }

    fn explain(&self, status: Status) -> SessionError {
        if status.code() == Code::NotFound && status.message().starts_with(UNKNOWN_STORE) {
            return SessionError::NoSuchStore {
                id: self.store.clone(),
            };
        }
        SessionError::from_status(status)
    }

    /// Opens a stream of writes, whose first answer has come.
    async fn begin(&self, start: WriteContentRequest) -> Result<Option<Writing>, SessionError> {
        let (sink, requests) = mpsc::channel(1);
        let call = self.request(ReceiverStream::new(requests));
        let mut client = client!(ContentClient, self.link);
        let answers = self.link.start(async move { client.write(call).await });
        let mut writing = Writing { sink, answers };
        match writing.exchange(start).await {
            Ok(answer) if answer.offset == 0 => Ok(Some(writing)),
            Ok(answer) => Err(SessionError::Protocol(format!(
                "a new blob begins at {}",
                answer.offset
            ))),
            Err(status) if status.code() == Code::AlreadyExists => Ok(None),
            Err(status) => Err(self.explain(status)),
        }
    }

    async fn abort(&self, reference: String) {
        let mut client = client!(ContentClient, self.link);
        let call = client.abort(self.request(AbortRequest { r#ref: reference }));
        // What failed is being reported already.
        drop(self.link.call(call).await);
    }
}

#[async_trait]
impl BlobStore for RemoteBlobs {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, SessionError> {
        let mut client = client!(ContentClient, self.link);
        let call = client.info(self.request(InfoRequest {
            digest: digest.to_string(),
        }));
        let info = match self.link.call(call).await? {
            Ok(answer) => answer.into_inner().info.unwrap_or_default(),
            Err(status) => match self.explain(status.clone()) {
                SessionError::Remote { .. } if status.code() == Code::NotFound => return Ok(None),
                error => return Err(error),
            },
        };
        let negative = |_| SessionError::Protocol(format!("{digest} has {} bytes", info.size));
        u64::try_from(info.size).map(Some).map_err(negative)
    }

    async fn read(&self, digest: &Digest, offset: u64) -> Result<BlobReader, SessionError> {
        let beyond = |_| SessionError::Protocol(format!("{digest} has no byte {offset}"));
        let start = i64::try_from(offset).map_err(beyond)?;
        let mut client = client!(ContentClient, self.link);
        let call = client.read(self.request(ReadContentRequest {
            digest: digest.to_string(),
            offset: start,
            size: 0,
        }));
        let answer = self.link.call(call).await?;
        let answer = answer.map_err(|status| self.explain(status))?.into_inner();
        let mut position = start;
        let data = self.link.messages(answer).map(move |piece| {
            let piece = piece?;
            in_order(&mut position, piece)
        });
        Ok(Box::new(streams::reader(data)))
    }

    async fn write(
        &self,
        digest: &Digest,
        size: u64,
        data: BlobReader,
    ) -> Result<(), SessionError> {
        let blob = Blob::new(digest, size)?;
        let Some(mut writing) = self.begin(blob.message(WriteAction::Stat)).await? else {
            return Ok(());
        };
        let outcome = blob.send(&mut writing, data).await;
        drop(writing);
        match outcome {
            Ok(()) => Ok(()),
            Err(WriteError::Answer(status)) if status.code() == Code::AlreadyExists => Ok(()),
            Err(failure) => {
                self.abort(blob.reference).await;
                Err(match failure {
                    WriteError::Answer(status) => self.explain(status),
                    WriteError::Session(error) => error,
                })
            }
        }
    }
}

/// Checks that a piece is where the last one ended.
fn in_order(position: &mut i64, piece: ReadContentResponse) -> Result<Bytes, Status> {
    if piece.offset != *position {
        return Err(Status::data_loss(format!(
            "the client sent byte {} of a blob after byte {position}",
            piece.offset
        )));
    }
    // Data of one message fits.
    *position = position.saturating_add(i64::try_from(piece.data.len()).unwrap_or(i64::MAX));
    Ok(piece.data)
}

/// A stream of writes; each request has one answer.
struct Writing {
    sink: mpsc::Sender<WriteContentRequest>,
    answers: Messages<WriteContentResponse>,
}

impl Writing {
    async fn exchange(
        &mut self,
        request: WriteContentRequest,
    ) -> Result<WriteContentResponse, Status> {
        // Where the client has ended the call, its answer says why.
        drop(self.sink.send(request).await);
        let ended = || Status::unknown("the client stopped to write a blob");
        self.answers.next().await.ok_or_else(ended)?
    }
}

enum WriteError {
    Answer(Status),
    Session(SessionError),
}

impl From<Status> for WriteError {
    fn from(status: Status) -> Self {
        Self::Answer(status)
    }
}

/// A blob that is being written.
struct Blob {
    digest: Digest,
    total: i64,
    /// What the client calls the unfinished blob; fresh, so that two writers do not meet.
    reference: String,
}

impl Blob {
    fn new(digest: &Digest, size: u64) -> Result<Self, SessionError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let too_large = |_| SessionError::Protocol(format!("{digest} has {size} bytes"));
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            digest: *digest,
            total: i64::try_from(size).map_err(too_large)?,
            reference: format!("lamina-{}-{count}-{digest}", std::process::id()),
        })
    }

    fn message(&self, action: WriteAction) -> WriteContentRequest {
        WriteContentRequest {
            action: action.into(),
            r#ref: self.reference.clone(),
            total: self.total,
            expected: self.digest.to_string(),
            ..WriteContentRequest::default()
        }
    }

    async fn send(&self, writing: &mut Writing, mut data: BlobReader) -> Result<(), WriteError> {
        let mut offset = 0;
        loop {
            let piece = self.piece(&mut data).await?;
            if piece.is_empty() {
                break;
            }
            // Data of one message fits.
            let length = i64::try_from(piece.len()).unwrap_or(i64::MAX);
            writing
                .exchange(WriteContentRequest {
                    offset,
                    data: piece,
                    ..self.message(WriteAction::Write)
                })
                .await?;
            offset = offset.saturating_add(length);
        }
        let commit = self.message(WriteAction::Commit);
        writing
            .exchange(WriteContentRequest { offset, ..commit })
            .await?;
        Ok(())
    }

    /// Reads the next piece; empty at the end.
    async fn piece(&self, data: &mut BlobReader) -> Result<Bytes, WriteError> {
        let mut piece = BytesMut::with_capacity(CHUNK_BYTES);
        while piece.len() < CHUNK_BYTES {
            match data.read_buf(&mut piece).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(source) => {
                    return Err(WriteError::Session(SessionError::Io(
                        lamina_types::PathError {
                            path: self.digest.to_string(),
                            source,
                        },
                    )));
                }
            }
        }
        Ok(piece.freeze())
    }
}
