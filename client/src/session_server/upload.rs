//! Streams by URL (row SVC-17): contexts and Dockerfiles on standard input.

use std::pin::Pin;

use bytes::BytesMut;
use futures_util::Stream;
use lamina_proto::upload::BytesMessage;
use lamina_proto::upload::upload_server::Upload;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::async_trait;

use super::error::status;
use super::metadata;
use super::offer::Offer;

/// Size of a message: stock daemons take up to 4 MiB.
const PIECE_BYTES: usize = 256 << 10;

#[async_trait]
impl Upload for Offer {
    type PullStream = Pin<Box<dyn Stream<Item = Result<BytesMessage, Status>> + Send>>;

    async fn pull(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let host = metadata::first(request.metadata(), "urlhost");
        let path = metadata::first(request.metadata(), "urlpath");
        let data = self.session.upload(&host, &path).await.map_err(status)?;
        let pieces = futures_util::stream::try_unfold(data, async |mut data| {
            let piece = next_piece(&mut data).await?;
            Ok(piece.map(|piece| (piece, data)))
        });
        Ok(Response::new(Box::pin(pieces)))
    }
}

async fn next_piece(
    data: &mut (dyn AsyncRead + Send + Unpin),
) -> Result<Option<BytesMessage>, Status> {
    let mut piece = BytesMut::with_capacity(PIECE_BYTES);
    let read = data.read_buf(&mut piece).await;
    match read.map_err(|error| Status::unknown(error.to_string()))? {
        0 => Ok(None),
        _ => Ok(Some(BytesMessage {
            data: piece.freeze(),
        })),
    }
}
