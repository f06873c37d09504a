//! The blobs of the daemon.

use bytes::Bytes;
use lamina_proto::content;
use lamina_proto::content::content_server::Content;
use tonic::Request;
use tonic::Response;
use tonic::Streaming;
use tonic::async_trait;

use super::Answer;
use super::Answers;
use super::BLOB;
use super::Service;
use super::later;
use super::stream_of;

#[async_trait]
impl Content for Service {
    type ReadStream = Answers<content::ReadContentResponse>;

    /// Every blob has the same content, right or wrong, and comes in two pieces.
    async fn read(&self, _: Request<content::ReadContentRequest>) -> Answer<Self::ReadStream> {
        let piece = |data: &'static [u8]| content::ReadContentResponse {
            offset: 0,
            data: Bytes::from_static(data),
        };
        let (first, second) = BLOB.split_at(2);
        Ok(Response::new(stream_of(vec![piece(first), piece(second)])))
    }

    async fn info(&self, _: Request<content::InfoRequest>) -> Answer<content::InfoResponse> {
        later()
    }

    async fn update(&self, _: Request<content::UpdateRequest>) -> Answer<content::UpdateResponse> {
        later()
    }

    type ListStream = Answers<content::ListContentResponse>;

    async fn list(&self, _: Request<content::ListContentRequest>) -> Answer<Self::ListStream> {
        later()
    }

    async fn delete(&self, _: Request<content::DeleteContentRequest>) -> Answer<()> {
        later()
    }

    async fn status(&self, _: Request<content::StatusRequest>) -> Answer<content::StatusResponse> {
        later()
    }

    async fn list_statuses(
        &self,
        _: Request<content::ListStatusesRequest>,
    ) -> Answer<content::ListStatusesResponse> {
        later()
    }

    type WriteStream = Answers<content::WriteContentResponse>;

    async fn write(
        &self,
        _: Request<Streaming<content::WriteContentRequest>>,
    ) -> Answer<Self::WriteStream> {
        later()
    }

    async fn abort(&self, _: Request<content::AbortRequest>) -> Answer<()> {
        later()
    }
}
