//! The daemon's blobs, read only (rows OTH-04, OTH-05).

use std::pin::Pin;

use bytes::BytesMut;
use futures_util::Stream;
use futures_util::stream;
use futures_util::stream::BoxStream;
use lamina_proto::content;
use lamina_proto::content::content_server::Content;
use lamina_types::Digest;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;

use crate::EngineSlot;

/// Bytes of a blob in one message: stock clients take no message of 4 MiB (row NET-04).
const CHUNK_BYTES: usize = 1 << 20;

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
        let missing = || Status::not_found(format!("content {digest}: not found"));
        Ok((digest, size.ok_or_else(missing)?))
    }
}

fn read_only() -> Status {
    Status::permission_denied("read-only content store")
}

fn info(digest: &Digest, size: u64) -> content::Info {
    content::Info {
        digest: digest.to_string(),
        size: wire_size(size),
        ..content::Info::default()
    }
}

fn wire_size(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Returns where to begin and how much to read of a blob of `size` bytes.
fn range(request: &content::ReadContentRequest, size: u64) -> Result<(u64, u64), Status> {
    let outside = |what: &str| Status::out_of_range(format!("{what} of {size} bytes"));
    let offset = u64::try_from(request.offset).map_err(|_| outside("read before the object"))?;
    let wanted = u64::try_from(request.size).map_err(|_| outside("negative read of an object"))?;
    let left = size
        .checked_sub(offset)
        .ok_or_else(|| outside("read past object length"))?;
    match wanted {
        0 => Ok((offset, left)),
        wanted if wanted > left => Err(outside("read past object length")),
        wanted => Ok((offset, wanted)),
    }
}

/// Cuts what `reader` gives into messages.
fn chunks<R>(
    reader: R,
    offset: u64,
) -> impl Stream<Item = Result<content::ReadContentResponse, Status>>
where
    R: AsyncRead + Unpin,
{
    stream::try_unfold((reader, offset), |(mut reader, offset)| async move {
        let mut data = BytesMut::with_capacity(CHUNK_BYTES);
        while data.len() < CHUNK_BYTES {
            let mut rest = (&mut reader).take((CHUNK_BYTES - data.len()) as u64);
            let read = rest.read_buf(&mut data).await;
            if read.map_err(|error| Status::unknown(error.to_string()))? == 0 {
                break;
            }
        }
        if data.is_empty() {
            return Ok(None);
        }
        let next = offset + data.len() as u64;
        let message = content::ReadContentResponse {
            offset: wire_size(offset),
            data: data.freeze(),
        };
        Ok(Some((message, (reader, next))))
    })
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
        let (offset, length) = range(request, size)?;
        let reader = self.0.get().await?.read_blob(&digest, offset).await;
        let missing = || Status::not_found(format!("content {digest}: not found"));
        let reader = reader.ok_or_else(missing)?.take(length);
        Ok(Response::new(Box::pin(chunks(reader, offset))))
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

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    #[test]
    fn ranges_stay_inside_the_blob() {
        let inside = |offset, size| {
            let request = content::ReadContentRequest {
                offset,
                size,
                ..content::ReadContentRequest::default()
            };
            range(&request, 10).ok()
        };
        for (offset, size, expected) in [
            (0, 0, Some((0, 10))),
            (4, 0, Some((4, 6))),
            (4, 6, Some((4, 6))),
            (10, 0, Some((10, 0))),
            (4, 7, None),
            (11, 0, None),
            (-1, 0, None),
            (0, -1, None),
            (i64::MAX, i64::MAX, None),
        ] {
            assert_eq!(inside(offset, size), expected, "{offset} {size}");
        }
    }

    #[tokio::test]
    async fn blobs_are_cut_into_messages() {
        let blob: Vec<u8> = (0..CHUNK_BYTES * 2 + 5).map(|i| i as u8).collect();
        let messages: Vec<_> = chunks(&blob[..], 7).try_collect().await.expect("read");
        let offsets: Vec<i64> = messages.iter().map(|message| message.offset).collect();
        let chunk = CHUNK_BYTES as i64;
        assert_eq!(offsets, [7, 7 + chunk, 7 + 2 * chunk]);
        let data: Vec<u8> = messages.iter().flat_map(|m| m.data.to_vec()).collect();
        assert_eq!(data, blob);
    }
}
