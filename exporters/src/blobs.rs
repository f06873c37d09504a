//! Moving blobs between the content store and a store of the client (row SVC-19).

use std::fs::File;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use lamina_content::ContentError;
use lamina_content::Descriptor;
use lamina_content::Ingest;
use lamina_session::BlobReader;
use lamina_session::BlobStore;
use lamina_session::FilePiece;
use lamina_session::OpenFile;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use lamina_types::Cancelled;
use lamina_types::Digest;
use lamina_types::IoContext;
use lamina_types::PathError;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::StreamReader;

use crate::ExportContext;
use crate::ExportError;

/// Written to disk in one piece of work.
const PIECE_BYTES: usize = 1 << 20;

/// Sends a blob of the content store to the client, unless it is there.
///
/// # Errors
/// If the blob cannot be read, or the client does not take it.
pub(crate) async fn send_blob(
    blob: &Descriptor,
    to: &dyn BlobStore,
    context: &ExportContext,
) -> Result<(), ExportError> {
    if to.size(&blob.digest).await? == Some(blob.size) {
        return Ok(());
    }
    let file = context.content.open_blob(&blob.digest)?;
    let data = reader(file, &blob.digest, context);
    // The receiver checks the digest, so damage on our disk does not get there.
    cancellable(context, to.write(&blob.digest, blob.size, data)).await
}

/// Sends bytes that we have made, unless they are there.
///
/// # Errors
/// If the client does not take them.
pub(crate) async fn send_bytes(
    bytes: Vec<u8>,
    to: &dyn BlobStore,
    context: &ExportContext,
) -> Result<(), ExportError> {
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    if to.size(&digest).await? == Some(size) {
        return Ok(());
    }
    let data: BlobReader = Box::new(std::io::Cursor::new(bytes));
    cancellable(context, to.write(&digest, size, data)).await
}

/// Fetches a blob of the client into the content store, unless it is there.
///
/// # Errors
/// If the client does not give it, or gives something else.
pub(crate) async fn fetch_blob(
    blob: &Descriptor,
    from: &dyn BlobStore,
    context: &ExportContext,
) -> Result<(), ExportError> {
    if context.content.contains(&blob.digest) {
        return Ok(());
    }
    let mut data = from.read(&blob.digest, 0).await?;
    let mut ingest = context.content.ingest()?;
    loop {
        let piece = cancellable(context, read_piece(&mut data, &blob.digest)).await?;
        if piece.is_empty() {
            break;
        }
        if ingest.written() + piece.len() as u64 > blob.size {
            return Err(larger(blob).into());
        }
        ingest = context.run(move |_| append(ingest, &piece)).await?;
    }
    let digest = blob.digest;
    context
        .run(move |_| Ok(ingest.commit(Some(&digest)).map(drop)?))
        .await
}

/// Reads a document of the client of at most `limit` bytes and checks its digest.
///
/// # Errors
/// As [`fetch_blob`].
pub(crate) async fn read_bytes(
    digest: &Digest,
    limit: u64,
    from: &dyn BlobStore,
    context: &ExportContext,
) -> Result<Vec<u8>, ExportError> {
    let data = from.read(digest, 0).await?;
    let mut bytes = Vec::new();
    let mut limited = data.take(limit + 1);
    let read = async { limited.read_to_end(&mut bytes).await.at(digest) };
    cancellable(context, read).await?;
    if bytes.len() as u64 > limit {
        let (digest, size) = (*digest, bytes.len() as u64);
        return Err(ContentError::TooLarge {
            digest,
            size,
            limit,
        }
        .into());
    }
    let found = Digest::of(&bytes);
    if found != *digest {
        let wanted = *digest;
        return Err(ContentError::WrongDigest { wanted, found }.into());
    }
    Ok(bytes)
}

/// Waits for the client no longer than the build wants.
pub(crate) async fn cancellable<T, E: Into<ExportError>>(
    context: &ExportContext,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, ExportError> {
    tokio::select! {
        done = work => done.map_err(Into::into),
        () = context.cancel.cancelled() => Err(Cancelled.into()),
    }
}

async fn read_piece(data: &mut BlobReader, digest: &Digest) -> Result<Vec<u8>, PathError> {
    let mut piece = Vec::new();
    let mut limited = data.take(PIECE_BYTES as u64);
    limited.read_to_end(&mut piece).await.at(digest)?;
    Ok(piece)
}

fn append(mut ingest: Ingest, piece: &[u8]) -> Result<Ingest, ExportError> {
    ingest.append(piece)?;
    Ok(ingest)
}

fn larger(blob: &Descriptor) -> ContentError {
    ContentError::TooLarge {
        digest: blob.digest,
        size: blob.size + 1,
        limit: blob.size,
    }
}

/// Reads a file on the pool, a piece at a time.
fn reader(file: File, digest: &Digest, context: &ExportContext) -> BlobReader {
    Box::new(StreamReader::new(pieces(
        file,
        *digest,
        context.blocking.clone(),
        context.cancel.clone(),
    )))
}

type Pieces = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

fn pieces(file: File, digest: Digest, blocking: Blocking, cancel: CancelToken) -> Pieces {
    let file = OpenFile::new(file, digest.to_string());
    Box::pin(stream::try_unfold(Some(file), move |file| {
        let (blocking, cancel) = (blocking.clone(), cancel.clone());
        async move {
            let Some(file) = file else { return Ok(None) };
            let read = move |_: &CancelToken| Ok(file.next()?);
            let FilePiece { data, rest } = blocking.run(&cancel, read).await.map_err(failed)?;
            Ok((!data.is_empty()).then_some((data, rest)))
        }
    }))
}

fn failed(error: ExportError) -> std::io::Error {
    std::io::Error::other(error)
}
