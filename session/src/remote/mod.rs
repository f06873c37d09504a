//! A client at the other end of a tunnel: the trait [`Session`] by calls of its services.
//!
//! | what is asked for | service |
//! |---|---|
//! | directories | `FileSync.DiffCopy`: the client is the sender of a transfer |
//! | places for results | `FileSend.DiffCopy`: bytes for a file, packets for a directory |
//! | credentials and tokens | `Auth` |
//! | secrets, agents, uploads | `Secrets`, `SSH`, `Upload` |
//! | stores of blobs | `Content` with the store's name as metadata |
//! | further exporters | `Exporter`, after the build |
//!
//! `Unimplemented` means that the client does not offer a service; that is an answer and no failure
//! (row ERR-19). Only directories and results are announced by the client when it connects, and not
//! asked for without (row SES-04).

mod archive;
mod auth;
mod blobs;
mod codec;
mod exporters;
mod files;
mod link;
mod metadata;
mod streams;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_proto::secrets::GetSecretRequest;
use lamina_proto::secrets::secrets_client::SecretsClient;
use lamina_types::CancelToken;
use tokio::io::AsyncRead;
use tonic::Code;
use tonic::transport::Channel;

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
use crate::SessionInfo;
use crate::StoreId;
use crate::Token;
use crate::TokenRequest;

use link::Link;

/// Largest message in either direction (row NET-04).
const MESSAGE_LIMIT: usize = 16 << 20;

/// Messages that a stream holds between a writer and the connection. With the window of the stream
/// this bounds the memory of each.
const MESSAGES_AHEAD: usize = 16;

/// A generated client with our limits on messages.
macro_rules! client {
    ($client:ident, $link:expr) => {
        $client::new($link.channel())
            .max_decoding_message_size($crate::remote::MESSAGE_LIMIT)
            .max_encoding_message_size($crate::remote::MESSAGE_LIMIT)
    };
}
use client;

/// A connected client.
pub(crate) struct RemoteSession {
    id: String,
    shared_key: String,
    methods: BTreeSet<String>,
    link: Link,
}

impl RemoteSession {
    /// `ended` tells that the session is over.
    pub(crate) fn new(info: SessionInfo, channel: Channel, ended: CancelToken) -> Self {
        let methods = info.methods.iter();
        Self {
            link: Link::new(&info.id, channel, ended),
            methods: methods.map(|method| method.to_ascii_lowercase()).collect(),
            id: info.id,
            shared_key: info.shared_key,
        }
    }

    /// Says whether the client announced a method; `method` is in lower case (row SES-04).
    fn offers(&self, method: &str) -> bool {
        self.methods.contains(method)
    }
}

#[async_trait]
impl Session for RemoteSession {
    fn id(&self) -> &str {
        &self.id
    }

    async fn shared_key(&self) -> Result<String, SessionError> {
        Ok(self.shared_key.clone())
    }

    async fn local_files(&self, request: &LocalRequest) -> Result<LocalFiles, SessionError> {
        if !self.offers(files::SYNC_METHOD) {
            return Err(refusal("no local sources enabled"));
        }
        let receiver = files::receive(&self.link, request).await?;
        Ok(LocalFiles::Remote(receiver))
    }

    async fn blobs(&self, store: &StoreId) -> Result<Arc<dyn BlobStore>, SessionError> {
        Ok(Arc::new(blobs::RemoteBlobs::new(self.link.clone(), store)?))
    }

    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
        let mut client = client!(SecretsClient, self.link);
        let request = GetSecretRequest {
            id: id.to_owned(),
            ..GetSecretRequest::default()
        };
        match self.link.call(client.get_secret(request)).await? {
            Ok(response) => Ok(Some(response.into_inner().data)),
            Err(status) if is_absent(status.code()) => Ok(None),
            Err(status) => Err(SessionError::from_status(status)),
        }
    }

    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, SessionError> {
        auth::credentials(&self.link, host).await
    }

    async fn fetch_token(&self, request: &TokenRequest) -> Result<Option<Token>, SessionError> {
        auth::fetch_token(&self.link, request).await
    }

    async fn check_ssh(&self, id: &str) -> Result<(), SessionError> {
        streams::check_ssh(&self.link, id).await
    }

    async fn connect_ssh(&self, id: &str) -> Result<Box<dyn Duplex>, SessionError> {
        streams::connect_ssh(&self.link, id)
    }

    async fn upload(
        &self,
        host: &str,
        path: &str,
    ) -> Result<Box<dyn AsyncRead + Send + Unpin>, SessionError> {
        streams::upload(&self.link, host, path).await
    }

    async fn file_target(
        &self,
        exporter: usize,
        response: &BTreeMap<String, String>,
    ) -> Result<Box<dyn FileTarget>, SessionError> {
        self.check_targets()?;
        archive::open(&self.link, exporter, response)
    }

    async fn directory_target(
        &self,
        exporter: usize,
        _: bool,
    ) -> Result<DirectoryTarget, SessionError> {
        self.check_targets()?;
        files::send(&self.link, exporter).map(DirectoryTarget::Remote)
    }

    async fn find_exporters(
        &self,
        result: &ExportableResult,
    ) -> Result<Vec<ChosenExporter>, SessionError> {
        exporters::find(&self.link, result).await
    }

    async fn finalize_export(
        &self,
        response: &BTreeMap<String, String>,
    ) -> Result<(), SessionError> {
        exporters::finalize(&self.link, response).await
    }
}

impl RemoteSession {
    fn check_targets(&self) -> Result<(), SessionError> {
        if self.offers(files::SEND_METHOD) {
            return Ok(());
        }
        Err(refusal(&format!(
            "method {} not supported by the client",
            files::SEND_METHOD_SHOWN
        )))
    }
}

/// The client has no such thing, or not even the service for it.
fn is_absent(code: Code) -> bool {
    matches!(code, Code::NotFound | Code::Unimplemented)
}

fn refusal(message: &str) -> SessionError {
    SessionError::Remote {
        message: message.to_owned(),
        gone: false,
    }
}
