//! The trait between a build and its client.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::BlobStore;
use crate::ChosenExporter;
use crate::Credentials;
use crate::ExportableResult;
use crate::FileReceiver;
use crate::FileSender;
use crate::FileTarget;
use crate::SessionError;

/// Whose the files of a local source are (row SVC-04).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LocalOwner {
    /// The owners that the files have on the client.
    AsIs,
    /// One owner for all; command line clients use 0:0, so that a context means the same
    /// whoever checked it out.
    Fixed {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

impl Default for LocalOwner {
    fn default() -> Self {
        Self::Fixed { uid: 0, gid: 0 }
    }
}

/// What is wanted of a directory of the client (row SVC-01).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LocalRequest {
    /// Name of the local source.
    pub name: String,
    /// Patterns of an ignore file; what matches none is left out. Empty = everything.
    pub includes: Vec<String>,
    /// Patterns of an ignore file; what matches is left out.
    pub excludes: Vec<String>,
    /// Paths that are wanted with whatever their symlinks lead to. Empty = everything.
    pub follow: Vec<String>,
}

/// A directory of the client.
#[derive(Debug)]
pub enum LocalFiles {
    /// On this host; the patterns of the request are still to be applied.
    Host {
        /// Where.
        path: PathBuf,
        /// What to say of the files' owners.
        owner: LocalOwner,
    },
    /// Sent by the client, filtered and with owners as the client wants them.
    Remote(FileReceiver),
}

/// Where a directory of results goes.
#[derive(Debug)]
pub enum DirectoryTarget {
    /// On this host.
    Host(PathBuf),
    /// Sent to the client.
    Remote(FileSender),
}

/// How names of layouts and caches begin on the wire, and what the other store is called.
const LAYOUT_PREFIX: &str = "oci:";
const CACHE_PREFIX: &str = "local:";
const EXPORT_NAME: &str = "export";

/// A store of blobs at the client (row SVC-19).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StoreId {
    /// An OCI layout, under the client's name for it.
    Layout(String),
    /// A folder with build caches.
    Cache(String),
    /// Where an image is exported as separate blobs.
    Export,
}

impl StoreId {
    /// Returns what the store is called between daemon and client.
    #[must_use]
    pub fn wire_name(&self) -> String {
        match self {
            Self::Layout(name) => format!("{LAYOUT_PREFIX}{name}"),
            Self::Cache(name) => format!("{CACHE_PREFIX}{name}"),
            Self::Export => EXPORT_NAME.to_owned(),
        }
    }

    /// Returns the store with that [`wire_name`](Self::wire_name); `None` if there can be none.
    #[must_use]
    pub fn from_wire_name(name: &str) -> Option<Self> {
        if let Some(layout) = name.strip_prefix(LAYOUT_PREFIX) {
            return Some(Self::Layout(layout.to_owned()));
        }
        if let Some(cache) = name.strip_prefix(CACHE_PREFIX) {
            return Some(Self::Cache(cache.to_owned()));
        }
        (name == EXPORT_NAME).then_some(Self::Export)
    }
}

/// What a client needs to fetch a bearer token itself (row SVC-12).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TokenRequest {
    /// How the daemon calls itself.
    pub client_id: String,
    /// The registry.
    pub host: String,
    /// Where tokens are given.
    pub realm: String,
    /// For which service.
    pub service: String,
    /// For what.
    pub scopes: Vec<String>,
}

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The secret.
    pub token: String,
    /// Seconds that it is valid; 0 = the client does not know.
    pub expires_in: i64,
    /// Unix time of its issue; 0 = now.
    pub issued_at: i64,
}

/// Bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What a build may ask of the client that started it.
///
/// Each method may wait for the client. None of them may be called while a lock is held that the
/// client's answer needs. Values of secrets and credentials must not enter logs, cache keys or
/// provenance (row SVC-14).
#[async_trait]
pub trait Session: Send + Sync {
    /// Identifies the session; unique among all that are or were connected.
    fn id(&self) -> &str;

    /// Names the client across its sessions, so that its transfers can build on earlier ones
    /// (row SVC-03). Empty = only the source's name and hint tell clients apart.
    ///
    /// # Errors
    /// If the client is not there.
    async fn shared_key(&self) -> Result<String, SessionError>;

    /// Opens the directory behind a local source (rows SRC-08, SVC-01).
    ///
    /// # Errors
    /// [`SessionError::NoSuchDirectory`] if the client did not offer one.
    async fn local_files(&self, request: &LocalRequest) -> Result<LocalFiles, SessionError>;

    /// Opens a store of blobs (rows SRC-33, SVC-19).
    ///
    /// # Errors
    /// [`SessionError::NoSuchLayout`] or [`SessionError::NoSuchStore`] if the client did not offer
    /// one; a remote client says so when the store is first used.
    async fn blobs(&self, store: &StoreId) -> Result<Arc<dyn BlobStore>, SessionError>;

    /// Returns the value of a secret; `None` = the client has no such secret (row SVC-14).
    ///
    /// # Errors
    /// If the client has it but cannot read it, or will not send it: clients refuse values larger
    /// than [`MAX_SECRET_BYTES`](crate::MAX_SECRET_BYTES).
    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError>;

    /// Returns the credentials for a registry; `None` = anonymous (row SVC-10).
    ///
    /// `host` is as used on the wire (`registry-1.docker.io` for Docker Hub).
    ///
    /// # Errors
    /// If credentials are configured but cannot be had.
    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, SessionError>;

    /// Lets the client fetch a token for a registry; `None` = it does not do that for this
    /// registry, so credentials are to be asked for (rows SVC-11, SVC-12).
    ///
    /// # Errors
    /// If the client tried and failed.
    async fn fetch_token(&self, request: &TokenRequest) -> Result<Option<Token>, SessionError>;

    /// Checks that the client forwards the agent or socket `id` (row SVC-15).
    ///
    /// # Errors
    /// [`SessionError::NoSuchAgent`] if it forwards none; else what the client says of that id.
    async fn check_ssh(&self, id: &str) -> Result<(), SessionError>;

    /// Opens a connection to the agent or socket `id` (row SVC-16).
    ///
    /// # Errors
    /// If the client does not forward it, or cannot connect.
    async fn connect_ssh(&self, id: &str) -> Result<Box<dyn Duplex>, SessionError>;

    /// Reads what the client uploads under a URL of the host `buildkit-session` (row SVC-17).
    ///
    /// # Errors
    /// If the client offers nothing there.
    async fn upload(
        &self,
        host: &str,
        path: &str,
    ) -> Result<Box<dyn AsyncRead + Send + Unpin>, SessionError>;

    /// Opens the place where the exporter with this index writes its archive; `response` is what
    /// the exporter reports (row SVC-09).
    ///
    /// Nothing is visible there before [`FileTarget::finish`].
    ///
    /// # Errors
    /// If there is none, or it is a directory, or it cannot be written.
    async fn file_target(
        &self,
        exporter: usize,
        response: &BTreeMap<String, String>,
    ) -> Result<Box<dyn FileTarget>, SessionError>;

    /// Opens the directory that the exporter with this index fills (row SVC-08). `by_platform`:
    /// each platform has a folder of its own. The results of all platforms are one transfer.
    ///
    /// # Errors
    /// If there is none, or it is a file, or it cannot be made.
    async fn directory_target(
        &self,
        exporter: usize,
        by_platform: bool,
    ) -> Result<DirectoryTarget, SessionError>;

    /// Asks which exporters to run beside those of the request (row SVC-18). They come after those
    /// in number. A client that does not choose gives none.
    ///
    /// # Errors
    /// If the client tried to choose and failed.
    async fn find_exporters(
        &self,
        _result: &ExportableResult,
    ) -> Result<Vec<ChosenExporter>, SessionError> {
        Ok(Vec::new())
    }

    /// Tells a client that chooses exporters what all of them have answered (row SVC-18).
    ///
    /// # Errors
    /// What the client has against it; the build has then failed.
    async fn finalize_export(
        &self,
        _response: &BTreeMap<String, String>,
    ) -> Result<(), SessionError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_have_a_name_on_the_wire() {
        for (store, name) in [
            (StoreId::Layout("a:b".to_owned()), "oci:a:b"),
            (StoreId::Layout(String::new()), "oci:"),
            (StoreId::Cache("/x".to_owned()), "local:/x"),
            (StoreId::Export, "export"),
        ] {
            assert_eq!(store.wire_name(), name);
            assert_eq!(StoreId::from_wire_name(name), Some(store));
        }
        for name in ["", "oci", "x:y", "export2", "Export"] {
            assert_eq!(StoreId::from_wire_name(name), None, "{name}");
        }
    }
}
