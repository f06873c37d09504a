//! Stores of blobs (row SVC-19): image layouts, caches, exports as separate blobs.
//!
//! Writing is a conversation: each message says what to do (ask, write, commit) and is answered with
//! how far the blob is. The bytes flow on to [`BlobStore::write`](lamina_session::BlobStore), which
//! checks size and digest, and nothing shows before a commit.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use lamina_proto::content;
use lamina_proto::content::WriteAction;
use lamina_proto::content::WriteContentRequest;
use lamina_proto::content::WriteContentResponse;
use lamina_proto::content::content_server::Content;
use lamina_session::BlobStore;
use lamina_session::SessionError;
use lamina_session::StoreId;
use lamina_session::read_answers;
use lamina_session::read_range;
use lamina_types::Digest;
use tokio::io::AsyncWriteExt as _;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::async_trait;
use tonic::metadata::MetadataMap;

use super::QUEUE;
use super::error::status;
use super::metadata;
use super::offer::Offer;

/// Says which store is meant.
const STORE_KEY: &str = "buildkit-attachable-store-id";

/// Data between a message and the store.
const PIECE_BYTES: usize = 1 << 20;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Offer {
    async fn store(&self, metadata: &MetadataMap) -> Result<Arc<dyn BlobStore>, Status> {
        let name = metadata::first(metadata, STORE_KEY);
        if name.is_empty() {
            let text = format!("request lacks metadata {STORE_KEY:?}");
            return Err(Status::invalid_argument(text));
        }
        let unknown = || Status::not_found(format!("unknown store {name}"));
        let id = StoreId::from_wire_name(&name).ok_or_else(unknown)?;
        self.session.blobs(&id).await.map_err(status)
    }
}

#[async_trait]
impl Content for Offer {
    async fn info(
        &self,
        request: Request<content::InfoRequest>,
    ) -> Result<Response<content::InfoResponse>, Status> {
        let store = self.store(request.metadata()).await?;
        let digest = parse(&request.into_inner().digest)?;
        let size = store.size(&digest).await.map_err(status)?;
        let size = size.ok_or_else(|| missing(&digest))?;
        Ok(Response::new(content::InfoResponse {
            info: Some(content::Info {
                digest: digest.to_string(),
                size: i64::try_from(size).unwrap_or(i64::MAX),
                ..content::Info::default()
            }),
        }))
    }

    type ReadStream = Answers<content::ReadContentResponse>;

    async fn read(
        &self,
        request: Request<content::ReadContentRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let store = self.store(request.metadata()).await?;
        let request = request.into_inner();
        let digest = parse(&request.digest)?;
        let size = store.size(&digest).await.map_err(status)?;
        let size = size.ok_or_else(|| missing(&digest))?;
        let range = read_range(&request, size)?;
        let reader = store.read(&digest, range.start).await.map_err(status)?;
        Ok(Response::new(Box::pin(read_answers(reader, range))))
    }

    type WriteStream = Answers<WriteContentResponse>;

    async fn write(
        &self,
        request: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let store = self.store(request.metadata()).await?;
        let mut messages = request.into_inner();
        let (answers, outgoing) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            if let Err(status) = converse(store, &mut messages, &answers).await {
                // The daemon may have left; then nobody wants to know.
                drop(answers.send(Err(status)).await);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    /// Writes do not outlive their stream, so none is ever half done.
    async fn status(
        &self,
        request: Request<content::StatusRequest>,
    ) -> Result<Response<content::StatusResponse>, Status> {
        Err(no_ingest(&request.into_inner().r#ref))
    }

    async fn list_statuses(
        &self,
        _: Request<content::ListStatusesRequest>,
    ) -> Result<Response<content::ListStatusesResponse>, Status> {
        Ok(Response::new(content::ListStatusesResponse::default()))
    }

    async fn abort(&self, request: Request<content::AbortRequest>) -> Result<Response<()>, Status> {
        Err(no_ingest(&request.into_inner().r#ref))
    }

    type ListStream = Answers<content::ListContentResponse>;

    async fn list(
        &self,
        _: Request<content::ListContentRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        Err(Status::unimplemented("stores of clients are not listed"))
    }

    async fn update(
        &self,
        _: Request<content::UpdateRequest>,
    ) -> Result<Response<content::UpdateResponse>, Status> {
        Err(Status::unimplemented("blobs of clients have no labels"))
    }

    async fn delete(
        &self,
        _: Request<content::DeleteContentRequest>,
    ) -> Result<Response<()>, Status> {
        Err(Status::permission_denied(
            "blobs of clients are not deleted",
        ))
    }
}

fn parse(digest: &str) -> Result<Digest, Status> {
    digest
        .parse()
        .map_err(|error| Status::invalid_argument(format!("{error}")))
}

fn missing(digest: &Digest) -> Status {
    Status::not_found(format!("content {digest}: not found"))
}

fn no_ingest(name: &str) -> Status {
    Status::not_found(format!("ref {name}: not found"))
}

/// A blob on its way into a store.
struct Ingest {
    digest: Digest,
    total: i64,
    offset: i64,
    sink: DuplexStream,
    written: JoinHandle<Result<(), SessionError>>,
}

/// Answers one message after the other until the commit.
async fn converse(
    store: Arc<dyn BlobStore>,
    messages: &mut Streaming<WriteContentRequest>,
    answers: &mpsc::Sender<Result<WriteContentResponse, Status>>,
) -> Result<(), Status> {
    let Some(first) = messages.message().await? else {
        return Ok(());
    };
    let mut ingest = Ingest::start(store, &first).await?;
    let mut next = Some(first);
    while let Some(message) = next {
        let commit = message.action == i32::from(WriteAction::Commit);
        let answer = ingest.answer(&message);
        if !message.data.is_empty() {
            ingest.take(&message).await?;
        }
        let answer = WriteContentResponse {
            offset: ingest.offset,
            ..answer
        };
        if commit {
            ingest.finish(&message).await?;
            drop(answers.send(Ok(answer)).await);
            return Ok(());
        }
        if answers.send(Ok(answer)).await.is_err() {
            return Ok(());
        }
        next = messages.message().await?;
    }
    Ok(())
}

impl Ingest {
    async fn start(store: Arc<dyn BlobStore>, first: &WriteContentRequest) -> Result<Self, Status> {
        if first.expected.is_empty() {
            let text = "a write must begin with the digest of the blob";
            return Err(Status::invalid_argument(text));
        }
        let digest = parse(&first.expected)?;
        let size = u64::try_from(first.total)
            .map_err(|_| Status::invalid_argument("a blob's size is negative"))?;
        if store.size(&digest).await.map_err(status)?.is_some() {
            let text = format!("content {digest}: already exists");
            return Err(Status::already_exists(text));
        }
        let (sink, source) = tokio::io::duplex(PIECE_BYTES);
        let written =
            tokio::spawn(async move { store.write(&digest, size, Box::new(source)).await });
        Ok(Self {
            digest,
            total: first.total,
            offset: 0,
            sink,
            written,
        })
    }

    fn answer(&self, message: &WriteContentRequest) -> WriteContentResponse {
        WriteContentResponse {
            action: message.action,
            total: self.total,
            digest: self.digest.to_string(),
            ..WriteContentResponse::default()
        }
    }

    async fn take(&mut self, message: &WriteContentRequest) -> Result<(), Status> {
        let length = i64::try_from(message.data.len()).unwrap_or(i64::MAX);
        if message.offset != self.offset {
            let text = format!(
                "write at {} while {} bytes are there",
                message.offset, self.offset
            );
            return Err(Status::out_of_range(text));
        }
        self.offset = self.offset.saturating_add(length);
        if self.offset > self.total {
            return Err(Status::failed_precondition(
                "a blob is larger than was said",
            ));
        }
        if self.sink.write_all(&message.data).await.is_err() {
            // The store has given up; its error says why.
            return Err(self
                .outcome()
                .await
                .err()
                .unwrap_or_else(|| Status::failed_precondition("the store has closed the blob")));
        }
        Ok(())
    }

    async fn finish(&mut self, message: &WriteContentRequest) -> Result<(), Status> {
        let said = (!message.expected.is_empty()).then(|| parse(&message.expected));
        let changed = said.transpose()?.is_some_and(|said| said != self.digest);
        if changed || (message.total > 0 && message.total != self.offset) {
            let text = format!("{}: the commit is for another blob", self.digest);
            return Err(Status::failed_precondition(text));
        }
        if self.offset != self.total {
            let text = format!("{} of {} bytes came", self.offset, self.total);
            return Err(Status::failed_precondition(text));
        }
        // The end of the data, for the store.
        drop(self.sink.shutdown().await);
        self.outcome().await
    }

    async fn outcome(&mut self) -> Result<(), Status> {
        match (&mut self.written).await {
            Ok(written) => written.map_err(status),
            Err(_) => Err(Status::internal("the store failed")),
        }
    }
}

impl Drop for Ingest {
    /// A write that was not committed leaves nothing.
    fn drop(&mut self) {
        self.written.abort();
    }
}
