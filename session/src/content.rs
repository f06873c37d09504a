//! Serving blobs by containerd's content service: what the daemon and the client both do (rows
//! OTH-04, SVC-19).

use std::ops::Range;

use bytes::Bytes;
use bytes::BytesMut;
use futures_util::Stream;
use futures_util::stream;
use lamina_proto::content::ReadContentRequest;
use lamina_proto::content::ReadContentResponse;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tonic::Status;

/// Bytes of a blob in one message: stock clients and daemons take no message of 4 MiB (row NET-04).
const MESSAGE_BYTES: u64 = 1 << 20;

/// Returns the bytes that are to be read of a blob of `size` bytes; a length of 0 means all that
/// follows.
///
/// # Errors
/// `OutOfRange` if there are no such bytes.
pub fn read_range(request: &ReadContentRequest, size: u64) -> Result<Range<u64>, Status> {
    let outside = |what: &str| Status::out_of_range(format!("{what} of {size} bytes"));
    let start = u64::try_from(request.offset).map_err(|_| outside("read before the object"))?;
    let length = u64::try_from(request.size).map_err(|_| outside("negative read of an object"))?;
    let end = match length {
        0 => Some(size),
        length => start.checked_add(length),
    };
    match end {
        Some(end) if start <= end && end <= size => Ok(start..end),
        _ => Err(outside("read past object length")),
    }
}

/// Cuts the bytes of a blob into messages; `reader` begins with the first of them.
pub fn read_answers<R>(
    reader: R,
    range: Range<u64>,
) -> impl Stream<Item = Result<ReadContentResponse, Status>>
where
    R: AsyncRead + Unpin,
{
    stream::try_unfold((reader, range), async |(mut reader, range)| {
        if range.is_empty() {
            return Ok(None);
        }
        let length = MESSAGE_BYTES.min(range.end - range.start);
        let data = read_exactly(&mut reader, length).await?;
        let offset = i64::try_from(range.start).unwrap_or(i64::MAX);
        let answer = ReadContentResponse { offset, data };
        Ok(Some((answer, (reader, range.start + length..range.end))))
    })
}

async fn read_exactly<R>(reader: &mut R, length: u64) -> Result<Bytes, Status>
where
    R: AsyncRead + Unpin,
{
    let mut data = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
    let mut rest = reader.take(length);
    while rest.limit() > 0 {
        let read = rest.read_buf(&mut data).await;
        if read.map_err(|error| Status::unknown(error.to_string()))? == 0 {
            return Err(Status::data_loss("the blob is shorter than it was"));
        }
    }
    Ok(data.freeze())
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    fn request(offset: i64, size: i64) -> ReadContentRequest {
        ReadContentRequest {
            offset,
            size,
            ..ReadContentRequest::default()
        }
    }

    #[test]
    fn ranges_lie_in_the_blob() {
        for (offset, length, size, wanted) in [
            (0, 0, 0, Ok(0..0)),
            (0, 0, 7, Ok(0..7)),
            (3, 0, 7, Ok(3..7)),
            (3, 2, 7, Ok(3..5)),
            (7, 0, 7, Ok(7..7)),
            (8, 0, 7, Err("read past object length of 7 bytes")),
            (3, 5, 7, Err("read past object length of 7 bytes")),
            (7, i64::MAX, 7, Err("read past object length of 7 bytes")),
            (-1, 0, 7, Err("read before the object of 7 bytes")),
            (0, -1, 7, Err("negative read of an object of 7 bytes")),
        ] {
            let found = read_range(&request(offset, length), size);
            let found = found.map_err(|status| status.message().to_owned());
            assert_eq!(found, wanted.map_err(str::to_owned), "{offset} {length}");
        }
    }

    #[tokio::test]
    async fn answers_join_to_the_range() {
        let blob: Vec<u8> = (0..(5 << 19)).map(|at| (at % 251) as u8).collect();
        for range in [0..0, 0..1, 7..(1 << 20) + 7, 9..blob.len()] {
            let bytes =
                u64::try_from(range.start).expect("fits")..u64::try_from(range.end).expect("fits");
            let answers = read_answers(&blob[range.start..], bytes.clone());
            let answers: Vec<_> = answers.try_collect().await.expect("reads");
            let mut position = i64::try_from(bytes.start).expect("fits");
            let mut joined = Vec::new();
            for answer in answers {
                assert_eq!(answer.offset, position);
                assert!((1..=1 << 20).contains(&answer.data.len()));
                position += i64::try_from(answer.data.len()).expect("fits");
                joined.extend_from_slice(&answer.data);
            }
            assert!(joined == blob[range.clone()], "{range:?}");
        }
    }

    #[tokio::test]
    async fn a_blob_that_ends_early_is_an_error() {
        let answers = read_answers(&b"short"[..], 0..6);
        let error = answers
            .try_collect::<Vec<_>>()
            .await
            .expect_err("too short");
        assert_eq!(error.code(), tonic::Code::DataLoss);
    }
}
