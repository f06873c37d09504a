//! The daemon's blobs, read only (rows OTH-04, OTH-05).

use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream;
use futures_util::stream::BoxStream;
use lamina_proto::content;
use lamina_proto::content::content_server::Content;
use lamina_session::read_answers;
use lamina_session::read_range;
use lamina_types::Digest;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;

use crate::EngineSlot;

/// Blobs in one message of a list.
const LIST_CHUNK: usize = 100;

type Answer<T> = Result<Response<T>, Status>;

/// Content over an engine.
#[derive(Debug)]
pub(crate) struct ContentService(EngineSlot);

impl ContentService {
    /// Makes the service.
    pub(crate) fn new(engine: EngineSlot) -> Self {
        Self(engine)
    }

    /// Returns digest and size of a blob that is there.
    async fn look_up(&self, text: &str) -> Result<(Digest, u64), Status> {
        let wrong = |error| Status::invalid_argument(format!("{text:?}: {error}"));
        let digest: Digest = text.parse().map_err(wrong)?;
        let size = self.0.get().await?.blob_size(&digest).await;
        Ok((digest, size.ok_or_else(|| missing(&digest))?))
    }
}

fn read_only() -> Status {
    Status::permission_denied("read-only content store")
}

fn info(digest: &Digest, size: u64) -> content::Info {
    content::Info {
        digest: digest.to_string(),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        ..content::Info::default()
    }
}

fn missing(digest: &Digest) -> Status {
    Status::not_found(format!("content {digest}: not found"))
}

#[tonic::async_trait]
impl Content for ContentService {
    type ListStream = BoxStream<'static, Result<content::ListContentResponse, Status>>;
    type ReadStream =
        Pin<Box<dyn Stream<Item = Result<content::ReadContentResponse, Status>> + Send>>;
    type WriteStream = tokio_stream::Empty<Result<content::WriteContentResponse, Status>>;

    async fn info(&self, request: Request<content::InfoRequest>) -> Answer<content::InfoResponse> {
        let (digest, size) = self.look_up(&request.get_ref().digest).await?;
        Ok(Response::new(content::InfoResponse {
            info: Some(info(&digest, size)),
        }))
    }

    async fn list(
        &self,
        request: Request<content::ListContentRequest>,
    ) -> Answer<Self::ListStream> {
        if request
            .get_ref()
            .filters
            .iter()
            .any(|text| !text.is_empty())
        {
            return Err(Status::unimplemented("content lists cannot be filtered"));
        }
        let blobs = self.0.get().await?.list_blobs().await;
        let infos: Vec<content::Info> = blobs
            .iter()
            .map(|(digest, size)| info(digest, *size))
            .collect();
        let messages: Vec<_> = infos
            .chunks(LIST_CHUNK)
            .map(|infos| {
                Ok(content::ListContentResponse {
                    info: infos.to_vec(),
                })
            })
            .collect();
        Ok(Response::new(Box::pin(stream::iter(messages))))
    }

    async fn read(
        &self,
        request: Request<content::ReadContentRequest>,
    ) -> Answer<Self::ReadStream> {
        let request = request.get_ref();
        let (digest, size) = self.look_up(&request.digest).await?;
        let range = read_range(request, size)?;
        let reader = self.0.get().await?.read_blob(&digest, range.start).await;
        let reader = reader.ok_or_else(|| missing(&digest))?;
        Ok(Response::new(Box::pin(read_answers(reader, range))))
    }

    async fn status(
        &self,
        request: Request<content::StatusRequest>,
    ) -> Answer<content::StatusResponse> {
        let name = &request.get_ref().r#ref;
        Err(Status::not_found(format!(
            "status for ref {name:?}: not found"
        )))
    }

    async fn list_statuses(
        &self,
        _: Request<content::ListStatusesRequest>,
    ) -> Answer<content::ListStatusesResponse> {
        Ok(Response::new(content::ListStatusesResponse::default()))
    }

    async fn update(&self, _: Request<content::UpdateRequest>) -> Answer<content::UpdateResponse> {
        Err(read_only())
    }

    async fn delete(&self, _: Request<content::DeleteContentRequest>) -> Answer<()> {
        Err(read_only())
    }

    async fn write(
        &self,
        _: Request<Streaming<content::WriteContentRequest>>,
    ) -> Answer<Self::WriteStream> {
        Err(read_only())
    }

    async fn abort(&self, _: Request<content::AbortRequest>) -> Answer<()> {
        Err(read_only())
    }
}
