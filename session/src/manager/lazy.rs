//! Sessions that builds hold before, or without, a client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::OnceLock;

use async_trait::async_trait;
use tokio::io::AsyncRead;

use super::SESSION_WAIT;
use super::SessionManager;
use crate::BlobStore;
use crate::ChosenExporter;
use crate::Credentials;
use crate::DirectoryTarget;
use crate::Duplex;
use crate::ExportableResult;
use crate::FileTarget;
use crate::LocalFiles;
use crate::LocalRequest;
use crate::Session;
use crate::SessionError;
use crate::StoreId;
use crate::Token;
use crate::TokenRequest;

/// Looks its session up when it is first needed, and stays with it: a client that has gone away
/// does not come back under the same id.
pub(super) struct LazySession {
    manager: SessionManager,
    id: String,
    found: OnceLock<Arc<dyn Session>>,
}

impl LazySession {
    pub(super) fn new(manager: SessionManager, id: &str) -> Self {
        Self {
            manager,
            id: id.to_owned(),
            found: OnceLock::new(),
        }
    }

    async fn session(&self) -> Result<&Arc<dyn Session>, SessionError> {
        if let Some(session) = self.found.get() {
            return Ok(session);
        }
        // Not under a lock: ten who wait for a client that never comes wait five seconds together.
        let session = self.manager.wait(&self.id, SESSION_WAIT).await?;
        Ok(self.found.get_or_init(|| session))
    }
}

#[async_trait]
impl Session for LazySession {
    fn id(&self) -> &str {
        &self.id
    }

    async fn shared_key(&self) -> Result<String, SessionError> {
        self.session().await?.shared_key().await
    }

    async fn local_files(&self, request: &LocalRequest) -> Result<LocalFiles, SessionError> {
        self.session().await?.local_files(request).await
    }

    async fn blobs(&self, store: &StoreId) -> Result<Arc<dyn BlobStore>, SessionError> {
        self.session().await?.blobs(store).await
    }

    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
        self.session().await?.secret(id).await
    }

    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, SessionError> {
        self.session().await?.credentials(host).await
    }

    async fn fetch_token(&self, request: &TokenRequest) -> Result<Option<Token>, SessionError> {
        self.session().await?.fetch_token(request).await
    }

    async fn check_ssh(&self, id: &str) -> Result<(), SessionError> {
        self.session().await?.check_ssh(id).await
    }

    async fn connect_ssh(&self, id: &str) -> Result<Box<dyn Duplex>, SessionError> {
        self.session().await?.connect_ssh(id).await
    }

    async fn upload(
        &self,
        host: &str,
        path: &str,
    ) -> Result<Box<dyn AsyncRead + Send + Unpin>, SessionError> {
        self.session().await?.upload(host, path).await
    }

    async fn file_target(
        &self,
        exporter: usize,
        response: &BTreeMap<String, String>,
    ) -> Result<Box<dyn FileTarget>, SessionError> {
        let session = self.session().await?;
        session.file_target(exporter, response).await
    }

    async fn directory_target(
        &self,
        exporter: usize,
        by_platform: bool,
    ) -> Result<DirectoryTarget, SessionError> {
        let session = self.session().await?;
        session.directory_target(exporter, by_platform).await
    }

    async fn find_exporters(
        &self,
        result: &ExportableResult,
    ) -> Result<Vec<ChosenExporter>, SessionError> {
        self.session().await?.find_exporters(result).await
    }

    async fn finalize_export(
        &self,
        response: &BTreeMap<String, String>,
    ) -> Result<(), SessionError> {
        self.session().await?.finalize_export(response).await
    }
}

/// What a build without a session has: registries are anonymous, all else is refused in the words
/// that clients know.
pub(super) struct NoSession;

fn not_connected() -> SessionError {
    SessionError::NotConnected { id: String::new() }
}

#[async_trait]
impl Session for NoSession {
    fn id(&self) -> &'static str {
        ""
    }

    async fn shared_key(&self) -> Result<String, SessionError> {
        Err(SessionError::NoSessionForFiles)
    }

    async fn local_files(&self, _: &LocalRequest) -> Result<LocalFiles, SessionError> {
        Err(SessionError::NoSessionForFiles)
    }

    async fn blobs(&self, _: &StoreId) -> Result<Arc<dyn BlobStore>, SessionError> {
        Err(not_connected())
    }

    async fn secret(&self, _: &str) -> Result<Option<Vec<u8>>, SessionError> {
        Err(SessionError::NoSession)
    }

    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, SessionError> {
        Ok(None)
    }

    async fn fetch_token(&self, _: &TokenRequest) -> Result<Option<Token>, SessionError> {
        Ok(None)
    }

    async fn check_ssh(&self, _: &str) -> Result<(), SessionError> {
        Err(SessionError::NoSession)
    }

    async fn connect_ssh(&self, _: &str) -> Result<Box<dyn Duplex>, SessionError> {
        Err(SessionError::NoSession)
    }

    async fn upload(
        &self,
        _: &str,
        _: &str,
    ) -> Result<Box<dyn AsyncRead + Send + Unpin>, SessionError> {
        Err(SessionError::NoSession)
    }

    async fn file_target(
        &self,
        _: usize,
        _: &BTreeMap<String, String>,
    ) -> Result<Box<dyn FileTarget>, SessionError> {
        Err(not_connected())
    }

    async fn directory_target(&self, _: usize, _: bool) -> Result<DirectoryTarget, SessionError> {
        Err(not_connected())
    }

    async fn find_exporters(
        &self,
        _: &ExportableResult,
    ) -> Result<Vec<ChosenExporter>, SessionError> {
        Err(not_connected())
    }
}
