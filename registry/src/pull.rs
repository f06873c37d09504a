//! Downloading blobs.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use lamina_content::ContentError;
use lamina_content::ContentStore;
use lamina_content::Descriptor;
use lamina_session::Session;
use lamina_types::CancelToken;
use lamina_types::Progress;
use reqwest::Method;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use reqwest::header::CONTENT_RANGE;
use reqwest::header::HeaderValue;
use reqwest::header::RANGE;

use crate::ImageReference;
use crate::ManifestKind;
use crate::RegistryClient;
use crate::RegistryError;
use crate::bounded;
use crate::bounded::Lost;
use crate::client;
use crate::manifest;
use crate::request::Access;
use crate::request::Request;
use crate::stream::BlobWriter;
use crate::stream::Meter;
use crate::stream::Ticker;
use crate::transport;
use crate::transport::Failure;

/// One download, over as many connections as it takes.
struct Download<'a> {
    access: Access,
    blob: &'a Descriptor,
    writer: BlobWriter,
    ticker: Ticker,
    received: u64,
}

/// How reading one answer ended.
enum Piece {
    Complete,
    /// The rest can be asked for.
    Lost(Lost),
    /// The writer has the reason.
    WriterFailed,
}

impl RegistryClient {
    /// Downloads a blob (or, by its media type, a manifest) into the store, unless it is there.
    ///
    /// A broken connection is resumed where it broke. Nothing is in the store before size and
    /// digest are checked. Mirrors are asked first.
    ///
    /// # Errors
    /// [`RegistryError::WrongDigest`] and [`RegistryError::WrongSize`] if the registry sends
    /// something else, and whatever the registry answered.
    pub async fn fetch_blob(
        &self,
        reference: &ImageReference,
        blob: &Descriptor,
        store: &ContentStore,
        session: &Arc<dyn Session>,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<(), RegistryError> {
        client::cancellable(cancel, async {
            if store.contains(&blob.digest) {
                return Ok(());
            }
            // Boxed, or the futures of whole builds nest too deep for the compiler.
            let download = |access| self.download(access, blob, store, progress).boxed();
            self.ask_in_turn(reference, session, download).await
        })
        .await
    }

    async fn download(
        &self,
        access: Access,
        blob: &Descriptor,
        store: &ContentStore,
        progress: &Progress,
    ) -> Result<(), RegistryError> {
        let _turn = self.turn(&access.endpoint).await;
        let meter = Meter::start(progress, &blob.digest, "downloading", blob.size);
        let mut download = Download {
            access,
            blob,
            writer: BlobWriter::start(store),
            ticker: meter.clone().ticker(),
            received: 0,
        };
        self.receive_all(&mut download).await?;
        let Download { access, writer, .. } = download;
        let committed = writer.commit(blob.digest).await;
        committed.map_err(|error| match error {
            ContentError::WrongDigest { wanted, found } => RegistryError::WrongDigest {
                reference: access.subject(),
                host: access.host(),
                wanted,
                found,
            },
            other => other.into(),
        })?;
        meter.finish();
        if access.endpoint.mirror_of.is_none() {
            let repository = &access.reference.repository;
            self.remember(&access.endpoint.host, &blob.digest, repository);
        }
        Ok(())
    }

    /// Asks for the rest until nothing is missing; only attempts that bring nothing count.
    async fn receive_all(&self, download: &mut Download<'_>) -> Result<(), RegistryError> {
        let policy = self.transport().config().retry;
        let mut failed = 0;
        loop {
            let before = download.received;
            let response = self.request_rest(download).await?;
            let lost = match download.receive(response).await? {
                Piece::Complete | Piece::WriterFailed => return Ok(()),
                Piece::Lost(lost) => lost,
            };
            let error = match transport::lost(&download.access, lost) {
                Failure::Transient(error) => error,
                Failure::Final(error) => return Err(error),
            };
            failed = if download.received > before {
                1
            } else {
                failed + 1
            };
            let Some(wait) = policy.wait_after(failed) else {
                return Err(error);
            };
            tracing::debug!(%error, received = download.received, "resuming download");
            tokio::time::sleep(wait).await;
        }
    }

    async fn request_rest(&self, download: &Download<'_>) -> Result<Response, RegistryError> {
        let access = &download.access;
        let blob = download.blob;
        let folder = match ManifestKind::of(&blob.media_type) {
            Some(_) => "manifests",
            None => "blobs",
        };
        let path = format!("{folder}/{}", blob.digest);
        let url = self.transport().url(access, &path).await?;
        let mut request = Request::new(Method::GET, url);
        if folder == "manifests" {
            // Without it registries convert, or pretend not to have it.
            request = request.header(ACCEPT, manifest::accepted());
        }
        if download.received > 0 {
            let range = format!("bytes={}-{}", download.received, blob.size - 1);
            // Digits and ASCII punctuation are always a header value.
            if let Ok(range) = HeaderValue::from_str(&range) {
                request = request.header(RANGE, range);
            }
        }
        let response = self.transport().send(access, &request).await?;
        let expected = [StatusCode::OK, StatusCode::PARTIAL_CONTENT];
        client::check_status(access, response, &expected).await
    }
}

impl Download<'_> {
    /// Passes what one answer brings to the writer.
    async fn receive(&mut self, mut response: Response) -> Result<Piece, RegistryError> {
        let patience = self.access.endpoint.patience;
        // A server that ignores the range sends everything again.
        let mut skip = self.received - self.range_start(&response)?;
        while self.received < self.blob.size || skip > 0 {
            let chunk = match bounded::next(&mut response, patience).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    let reason = "it ended too early".to_owned();
                    return Ok(Piece::Lost(Lost::Broken(reason)));
                }
                Err(lost) => return Ok(Piece::Lost(lost)),
            };
            let chunk = skip_front(chunk, &mut skip);
            if !self.take(chunk).await? {
                return Ok(Piece::WriterFailed);
            }
        }
        match bounded::next(&mut response, patience).await {
            Ok(Some(chunk)) if !chunk.is_empty() => Err(self.too_long()),
            _ => Ok(Piece::Complete),
        }
    }

    /// Returns the offset at which the answer begins: never beyond what is already there.
    fn range_start(&self, response: &Response) -> Result<u64, RegistryError> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(0);
        }
        let range = response.headers().get(CONTENT_RANGE);
        let start = range.and_then(|range| {
            let range = range.to_str().ok()?.strip_prefix("bytes ")?;
            range.split_once('-')?.0.trim().parse::<u64>().ok()
        });
        start
            .filter(|start| *start <= self.received)
            .ok_or_else(|| RegistryError::Malformed {
                reference: self.access.subject(),
                host: self.access.host(),
                what: "range",
                reason: format!("asked for bytes from {}", self.received),
            })
    }

    async fn take(&mut self, chunk: Bytes) -> Result<bool, RegistryError> {
        let length = chunk.len() as u64;
        if self.received + length > self.blob.size {
            return Err(self.too_long());
        }
        self.received += length;
        self.ticker.add(length);
        Ok(self.writer.write(chunk).await)
    }

    fn too_long(&self) -> RegistryError {
        RegistryError::WrongSize {
            reference: self.access.subject(),
            host: self.access.host(),
            digest: self.blob.digest,
            wanted: self.blob.size,
        }
    }
}

fn skip_front(mut chunk: Bytes, skip: &mut u64) -> Bytes {
    let length = usize::try_from(*skip).map_or(chunk.len(), |skip| skip.min(chunk.len()));
    *skip -= length as u64;
    chunk.split_off(length)
}
