//! Uploading blobs and manifests (row EIM-19).

use std::sync::Arc;

use lamina_content::ContentStore;
use lamina_content::Descriptor;
use lamina_session::Session;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::Progress;
use reqwest::Method;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use reqwest::header::HeaderValue;
use reqwest::header::LOCATION;

use crate::ImageReference;
use crate::RegistryClient;
use crate::RegistryError;
use crate::client;
use crate::endpoint::Endpoint;
use crate::manifest;
use crate::request::Access;
use crate::request::Body;
use crate::request::Request;
use crate::retry;
use crate::stream::Meter;
use crate::stream::Upload;

/// Descriptors may name the repositories of a host that have the blob, comma separated.
const SOURCE_ANNOTATION: &str = "containerd.io/distribution.source.";

const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// How one try of an upload failed.
struct UploadFailure {
    error: RegistryError,
    transient: bool,
}

impl From<RegistryError> for UploadFailure {
    /// Smaller requests have been retried already.
    fn from(error: RegistryError) -> Self {
        Self {
            error,
            transient: false,
        }
    }
}

impl RegistryClient {
    /// Uploads a blob from the store unless the repository has it; if another repository of the
    /// registry is known to have it, the registry is asked to take it from there.
    ///
    /// Known are repositories from which this client has downloaded it or to which it has
    /// uploaded it, and those in the descriptor's `containerd.io/distribution.source.<host>`
    /// annotation.
    ///
    /// # Errors
    /// Whatever the registry answered; [`RegistryError::Content`] if the blob is not in the store.
    pub async fn push_blob(
        &self,
        to: &ImageReference,
        blob: &Descriptor,
        store: &ContentStore,
        session: &Arc<dyn Session>,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<(), RegistryError> {
        client::cancellable(cancel, async {
            let endpoint = Endpoint::origin(self.transport().config(), to);
            let _turn = self.turn(&endpoint).await;
            let meter = Meter::start(progress, &blob.digest, "pushing", blob.size);
            let upload = Upload {
                file: Arc::new(store.open_blob(&blob.digest)?),
                size: blob.size,
                meter: meter.clone(),
            };
            let from = self.mount_source(&endpoint, to, blob);
            let access = |from| Access::write(to, endpoint.clone(), session, from);
            let from = from.as_deref();
            let pushed = match self.push_to(&access(from), blob, &upload, from).await {
                // This client may write here and yet not read there.
                Err(RegistryError::Denied { .. }) if from.is_some() => {
                    self.push_to(&access(None), blob, &upload, None).await
                }
                pushed => pushed,
            };
            pushed?;
            self.remember(&endpoint.host, &blob.digest, &to.repository);
            meter.finish();
            Ok(())
        })
        .await
    }

    async fn push_to(
        &self,
        access: &Access,
        blob: &Descriptor,
        upload: &Upload,
        from: Option<&str>,
    ) -> Result<(), RegistryError> {
        if self.has_blob(access, &blob.digest).await? {
            return Ok(());
        }
        self.upload(access, blob, upload, from).await
    }

    /// Says whether the repository that `reference` is in has the blob.
    async fn has_blob(&self, access: &Access, digest: &Digest) -> Result<bool, RegistryError> {
        let url = self
            .transport()
            .url(access, &format!("blobs/{digest}"))
            .await?;
        let request = Request::new(Method::HEAD, url);
        let response = self.transport().send(access, &request).await?;
        let expected = [StatusCode::OK, StatusCode::NOT_FOUND];
        let response = client::check_status(access, response, &expected).await?;
        Ok(response.status() == StatusCode::OK)
    }

    fn mount_source(
        &self,
        endpoint: &Endpoint,
        to: &ImageReference,
        blob: &Descriptor,
    ) -> Option<String> {
        let annotated = blob
            .annotations
            .get(&format!("{SOURCE_ANNOTATION}{}", to.host))
            .and_then(|list| list.split(',').find(|repository| !repository.is_empty()))
            .map(str::to_owned);
        let source = self.place_of(&endpoint.host, &blob.digest).or(annotated);
        source.filter(|repository| *repository != to.repository)
    }

    /// A broken upload begins anew: registries differ in what they keep of it.
    async fn upload(
        &self,
        access: &Access,
        blob: &Descriptor,
        upload: &Upload,
        from: Option<&str>,
    ) -> Result<(), RegistryError> {
        let policy = self.transport().config().retry;
        let mut failed = 0;
        loop {
            let outcome = self.upload_once(access, blob, upload, from).await;
            failed += 1;
            match (outcome, policy.wait_after(failed)) {
                (Ok(()), _) => return Ok(()),
                (Err(failure), Some(wait)) if failure.transient => {
                    tracing::debug!(error = %failure.error, "uploading again");
                    tokio::time::sleep(wait).await;
                }
                (Err(failure), _) => return Err(failure.error),
            }
        }
    }

    async fn upload_once(
        &self,
        access: &Access,
        blob: &Descriptor,
        upload: &Upload,
        from: Option<&str>,
    ) -> Result<(), UploadFailure> {
        let Some(mut url) = self.start_upload(access, &blob.digest, from).await? else {
            return Ok(());
        };
        url.query_pairs_mut()
            .append_pair("digest", &blob.digest.to_string());
        let request = Request::new(Method::PUT, url)
            .header(CONTENT_TYPE, OCTET_STREAM)
            .body(Body::File(upload.clone()));
        let policy = self.transport().config().retry.once();
        let sent = self.transport().send_with(access, &request, policy).await;
        let response = sent.map_err(|error| UploadFailure {
            transient: matches!(error, RegistryError::Interrupted { .. }),
            error,
        })?;
        let transient = retry::is_transient(response.status());
        let expected = [StatusCode::CREATED, StatusCode::NO_CONTENT, StatusCode::OK];
        client::check_status(access, response, &expected)
            .await
            .map(drop)
            .map_err(|error| UploadFailure { error, transient })
    }

    /// Returns where the content goes; `None` if the registry took the blob from `from`.
    async fn start_upload(
        &self,
        access: &Access,
        digest: &Digest,
        from: Option<&str>,
    ) -> Result<Option<Url>, RegistryError> {
        let mut url = self.transport().url(access, "blobs/uploads/").await?;
        if let Some(from) = from {
            url.query_pairs_mut()
                .append_pair("mount", &digest.to_string())
                .append_pair("from", from);
        }
        let request = Request::new(Method::POST, url);
        let response = self.transport().send(access, &request).await?;
        let expected = [StatusCode::ACCEPTED, StatusCode::CREATED];
        let response = client::check_status(access, response, &expected).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(None);
        }
        upload_location(access, &response).map(Some)
    }

    /// Uploads a manifest or index under the reference's tag, else under its digest, and returns
    /// its digest. What it lists must have been pushed before.
    ///
    /// # Errors
    /// Whatever the registry answered; [`RegistryError::WrongDigest`] if it stored something else.
    pub async fn push_manifest(
        &self,
        to: &ImageReference,
        media_type: &str,
        bytes: Vec<u8>,
        session: &Arc<dyn Session>,
        cancel: &CancelToken,
    ) -> Result<Digest, RegistryError> {
        client::cancellable(cancel, async {
            let endpoint = Endpoint::origin(self.transport().config(), to);
            let access = Access::write(to, endpoint, session, None);
            let digest = Digest::of(&bytes);
            manifest::check_digest(&access, to.digest, digest)?;
            let name = to.tag.clone().unwrap_or_else(|| digest.to_string());
            let url = self
                .transport()
                .url(&access, &format!("manifests/{name}"))
                .await?;
            let kind = HeaderValue::from_str(media_type).map_err(|_| {
                RegistryError::UnsupportedMediaType {
                    reference: to.to_string(),
                    media_type: media_type.to_owned(),
                }
            })?;
            let request = Request::new(Method::PUT, url)
                .header(CONTENT_TYPE, kind)
                .body(Body::Bytes(bytes.into()));
            let response = self.transport().send(&access, &request).await?;
            let expected = [StatusCode::CREATED, StatusCode::OK];
            let response = client::check_status(&access, response, &expected).await?;
            let stored = manifest::stated_digest(response.headers());
            manifest::check_digest(&access, Some(digest), stored.unwrap_or(digest))?;
            Ok(digest)
        })
        .await
    }
}

/// The location may be relative, and carries the registry's own state in its query.
fn upload_location(access: &Access, response: &Response) -> Result<Url, RegistryError> {
    let location = response.headers().get(LOCATION);
    let url = location
        .and_then(|location| location.to_str().ok())
        .and_then(|location| response.url().join(location).ok());
    url.ok_or_else(|| RegistryError::Malformed {
        reference: access.subject(),
        host: access.host(),
        what: "upload location",
        reason: "it is missing or not a URL".to_owned(),
    })
}
