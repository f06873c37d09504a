//! A client in this process.
//!
//! What it offers is given to the [builder](LocalSessionBuilder) by name. Directories and targets on
//! this host are passed on as paths; nothing is copied through messages.

mod blobs;
mod builder;
mod sockets;
mod upload;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::AsyncRead;

use crate::BlobStore;
use crate::Credentials;
use crate::DirectoryTarget;
use crate::Duplex;
use crate::FileTarget;
use crate::LocalFiles;
use crate::LocalRequest;
use crate::Session;
use crate::SessionError;
use crate::StoreId;
use crate::Token;
use crate::TokenRequest;
use crate::target;
use crate::target::Target;

use blobs::DirectoryBlobs;
pub use builder::LocalSessionBuilder;
use upload::Upload;

/// Answers a build from what the builder was given; see [`LocalSession::builder`].
///
/// `Debug` shows names and places and never a secret's value.
#[derive(Debug)]
pub struct LocalSession {
    id: String,
    offers: LocalSessionBuilder,
}

impl LocalSession {
    /// Starts a session that offers nothing yet.
    #[must_use]
    pub fn builder() -> LocalSessionBuilder {
        LocalSessionBuilder::default()
    }

    fn new(id: String, offers: LocalSessionBuilder) -> Self {
        Self { id, offers }
    }

    fn target(&self, exporter: usize) -> Result<&Target, SessionError> {
        self.offers
            .targets
            .get(&exporter)
            .ok_or(SessionError::NoTarget { exporter })
    }
}

#[async_trait]
impl Session for LocalSession {
    fn id(&self) -> &str {
        &self.id
    }

    async fn shared_key(&self) -> Result<String, SessionError> {
        Ok(self.offers.shared_key.clone())
    }

    async fn local_files(&self, request: &LocalRequest) -> Result<LocalFiles, SessionError> {
        let dir = self.offers.directories.get(&request.name).cloned();
        let missing = || SessionError::NoSuchDirectory {
            name: request.name.clone(),
        };
        Ok(LocalFiles::Host {
            path: dir.ok_or_else(missing)?,
            owner: self.offers.owner,
        })
    }

    async fn blobs(&self, store: &StoreId) -> Result<Arc<dyn BlobStore>, SessionError> {
        match self.offers.stores.get(store) {
            Some(dir) => Ok(Arc::new(DirectoryBlobs::new(dir, store))),
            None => Err(blobs::not_offered(store)),
        }
    }

    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
        match self.offers.secrets.get(id) {
            Some(source) => source.read(id),
            None => Ok(None),
        }
    }

    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, SessionError> {
        match &self.offers.docker_config {
            Some(config) => config.credentials(host).await,
            None => Ok(None),
        }
    }

    async fn fetch_token(&self, _: &TokenRequest) -> Result<Option<Token>, SessionError> {
        Ok(None)
    }

    async fn check_ssh(&self, id: &str) -> Result<(), SessionError> {
        sockets::check(&self.offers.agents, id)
    }

    async fn connect_ssh(&self, id: &str) -> Result<Box<dyn Duplex>, SessionError> {
        sockets::connect(&self.offers.agents, id).await
    }

    async fn upload(
        &self,
        host: &str,
        path: &str,
    ) -> Result<Box<dyn AsyncRead + Send + Unpin>, SessionError> {
        let found = self.offers.uploads.get(&upload::key(path));
        let reader = found.and_then(Upload::open);
        reader.ok_or_else(|| SessionError::NoSuchUpload {
            url: format!("http://{host}{path}"),
        })
    }

    async fn file_target(
        &self,
        exporter: usize,
        _: &BTreeMap<String, String>,
    ) -> Result<Box<dyn FileTarget>, SessionError> {
        match self.target(exporter)? {
            Target::File(path) => target::open_file(path),
            Target::StandardOutput => Ok(target::standard_output()),
            other => Err(SessionError::WrongTarget {
                exporter,
                given: other.describe(),
                wanted: "a file",
            }),
        }
    }

    async fn directory_target(
        &self,
        exporter: usize,
        _: bool,
    ) -> Result<DirectoryTarget, SessionError> {
        match self.target(exporter)? {
            Target::Directory(path) => target::make_directory(path).map(DirectoryTarget::Host),
            other => Err(SessionError::WrongTarget {
                exporter,
                given: other.describe(),
                wanted: "a directory",
            }),
        }
    }
}
