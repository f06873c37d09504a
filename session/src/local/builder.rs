//! Collecting what a session in this process offers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use bytes::Bytes;
use tokio::io::AsyncRead;

use super::LocalSession;
use super::sockets;
use super::upload;
use super::upload::Upload;
use crate::DockerConfig;
use crate::LocalOwner;
use crate::StoreId;
use crate::fresh_id;
use crate::secret::SecretSource;
use crate::target::Target;

/// Collects what a [`LocalSession`] offers. A later value for the same name replaces the earlier.
#[derive(Debug, Default)]
pub struct LocalSessionBuilder {
    pub(super) shared_key: String,
    pub(super) owner: LocalOwner,
    pub(super) directories: BTreeMap<String, PathBuf>,
    pub(super) stores: BTreeMap<StoreId, PathBuf>,
    pub(super) secrets: BTreeMap<String, SecretSource>,
    pub(super) agents: BTreeMap<String, PathBuf>,
    pub(super) uploads: BTreeMap<String, Upload>,
    pub(super) docker_config: Option<DockerConfig>,
    pub(super) targets: BTreeMap<usize, Target>,
}

impl LocalSessionBuilder {
    /// Offers `dir` as the local source `name`.
    #[must_use]
    pub fn local_dir(mut self, name: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        self.directories.insert(name.into(), dir.into());
        self
    }

    /// Offers the OCI layout in `dir` as the store `name`.
    #[must_use]
    pub fn oci_layout(mut self, name: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        self.stores.insert(StoreId::Layout(name.into()), dir.into());
        self
    }

    /// Offers the folder `dir` for build caches under `name`; it is made when first written.
    #[must_use]
    pub fn cache_dir(mut self, name: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        self.stores.insert(StoreId::Cache(name.into()), dir.into());
        self
    }

    /// Lets images be exported as separate blobs into the layout `dir`.
    #[must_use]
    pub fn export_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.stores.insert(StoreId::Export, dir.into());
        self
    }

    /// Forwards the Unix socket `path` as the agent `id`; an empty id is the default one.
    #[must_use]
    pub fn ssh_agent(mut self, id: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        let id = sockets::agent_name(&id.into()).to_owned();
        self.agents.insert(id, path.into());
        self
    }

    /// Uploads `data` under the URL path `path`, as often as it is asked for.
    #[must_use]
    pub fn upload(mut self, path: impl AsRef<str>, data: impl Into<Bytes>) -> Self {
        self.uploads
            .insert(upload::key(path.as_ref()), Upload::bytes(data.into()));
        self
    }

    /// Uploads what `reader` gives under the URL path `path`, once.
    #[must_use]
    pub fn upload_reader(
        mut self,
        path: impl AsRef<str>,
        reader: impl AsyncRead + Send + Unpin + 'static,
    ) -> Self {
        self.uploads
            .insert(upload::key(path.as_ref()), Upload::reader(Box::new(reader)));
        self
    }

    /// Offers a secret by value.
    #[must_use]
    pub fn secret_bytes(mut self, id: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.secrets
            .insert(id.into(), SecretSource::Bytes(value.into()));
        self
    }

    /// Offers the content of a file as a secret; it is read when asked for.
    #[must_use]
    pub fn secret_file(mut self, id: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.secrets
            .insert(id.into(), SecretSource::File(path.into()));
        self
    }

    /// Offers an environment variable as a secret; it is read when asked for, and an unset
    /// variable is no such secret.
    #[must_use]
    pub fn secret_env(mut self, id: impl Into<String>, variable: impl Into<OsString>) -> Self {
        self.secrets
            .insert(id.into(), SecretSource::Environment(variable.into()));
        self
    }

    /// Offers the credentials of a Docker configuration; without it, registries are anonymous.
    #[must_use]
    pub fn docker_config(mut self, config: DockerConfig) -> Self {
        self.docker_config = Some(config);
        self
    }

    /// Lets the exporter with this index write the file `path`.
    #[must_use]
    pub fn file_target(mut self, exporter: usize, path: impl Into<PathBuf>) -> Self {
        self.targets.insert(exporter, Target::File(path.into()));
        self
    }

    /// Lets the exporter with this index write to standard output.
    #[must_use]
    pub fn standard_output_target(mut self, exporter: usize) -> Self {
        self.targets.insert(exporter, Target::StandardOutput);
        self
    }

    /// Lets the exporter with this index fill the directory `path`.
    #[must_use]
    pub fn directory_target(mut self, exporter: usize, path: impl Into<PathBuf>) -> Self {
        self.targets
            .insert(exporter, Target::Directory(path.into()));
        self
    }

    /// Says whose the files of local sources are; 0:0 unless called.
    #[must_use]
    pub fn local_owner(mut self, owner: LocalOwner) -> Self {
        self.owner = owner;
        self
    }

    /// Names the client across its sessions; empty unless called.
    #[must_use]
    pub fn shared_key(mut self, key: impl Into<String>) -> Self {
        self.shared_key = key.into();
        self
    }

    /// Finishes the session under a fresh id.
    #[must_use]
    pub fn build(self) -> LocalSession {
        LocalSession::new(fresh_id(), self)
    }
}
