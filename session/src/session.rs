//! The trait between a build and its client.

use std::path::PathBuf;

use async_trait::async_trait;

use crate::Credentials;
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
    fn shared_key(&self) -> &str {
        ""
    }

    /// Says whose the files of local sources are.
    fn local_owner(&self) -> LocalOwner {
        LocalOwner::default()
    }

    /// Returns the host directory behind the local source `name` (row SRC-08).
    ///
    /// # Errors
    /// [`SessionError::NoSuchDirectory`] if the client did not offer one.
    async fn local_dir(&self, name: &str) -> Result<PathBuf, SessionError>;

    /// Returns the host directory of the OCI layout that the client calls `name` (row SRC-33).
    ///
    /// # Errors
    /// [`SessionError::NoSuchLayout`] if the client did not offer one.
    async fn oci_layout(&self, name: &str) -> Result<PathBuf, SessionError>;

    /// Returns the value of a secret; `None` = the client has no such secret (row SVC-14).
    ///
    /// # Errors
    /// If the client has it but cannot read it, or it is larger than
    /// [`MAX_SECRET_BYTES`](crate::MAX_SECRET_BYTES).
    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError>;

    /// Returns the credentials for a registry; `None` = anonymous (row SVC-10).
    ///
    /// `host` is as used on the wire (`registry-1.docker.io` for Docker Hub).
    ///
    /// # Errors
    /// If credentials are configured but cannot be had.
    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, SessionError>;

    /// Opens the place where the exporter with this index writes its archive (row SVC-09).
    ///
    /// Nothing is visible there before [`FileTarget::finish`].
    ///
    /// # Errors
    /// If there is none, or it is a directory, or it cannot be written.
    async fn file_target(&self, exporter: usize) -> Result<Box<dyn FileTarget>, SessionError>;

    /// Returns the directory that the exporter with this index fills (row SVC-08).
    ///
    /// # Errors
    /// If there is none, or it is a file, or it cannot be made.
    async fn directory_target(&self, exporter: usize) -> Result<PathBuf, SessionError>;
}
