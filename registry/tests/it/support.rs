//! What the tests share.

use std::sync::Arc;
use std::time::Duration;

use lamina_content::ContentStore;
use lamina_content::Descriptor;
use lamina_registry::HostConfig;
use lamina_registry::ImageReference;
use lamina_registry::RegistryClient;
use lamina_registry::RegistryConfig;
use lamina_registry::RegistryError;
use lamina_registry::ResolvedManifest;
use lamina_registry::RetryPolicy;
use lamina_session::DockerConfig;
use lamina_session::LocalSession;
use lamina_session::Session;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::Progress;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A client, a session, a store and a runtime.
pub(crate) struct Setup {
    pub(crate) client: RegistryClient,
    pub(crate) session: Arc<dyn Session>,
    pub(crate) store: ContentStore,
    pub(crate) cancel: CancelToken,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::with(RegistryConfig::default(), "{}")
    }

    /// `docker_config` is the content of the client's `config.json`.
    pub(crate) fn with(mut config: RegistryConfig, docker_config: &str) -> Self {
        config.retry = RetryPolicy {
            attempts: 3,
            first_wait: Duration::from_millis(1),
        };
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("config.json"), docker_config).expect("written");
        let session = LocalSession::builder()
            .docker_config(DockerConfig::in_dir(dir.path()))
            .build();
        Self {
            client: RegistryClient::new(config).expect("fits"),
            session: Arc::new(session),
            store: ContentStore::open(&dir.path().join("content")).expect("opens"),
            cancel: CancelToken::new(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts"),
            _dir: dir,
        }
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn resolve(&self, reference: &str) -> Result<ResolvedManifest, RegistryError> {
        let reference = image(reference);
        self.wait(self.client.resolve(&reference, &self.session, &self.cancel))
    }

    pub(crate) fn fetch(&self, reference: &str, blob: &Descriptor) -> Result<(), RegistryError> {
        let reference = image(reference);
        self.wait(self.client.fetch_blob(
            &reference,
            blob,
            &self.store,
            &self.session,
            &Progress::default(),
            &self.cancel,
        ))
    }

    pub(crate) fn push(&self, reference: &str, blob: &Descriptor) -> Result<(), RegistryError> {
        let reference = image(reference);
        self.wait(self.client.push_blob(
            &reference,
            blob,
            &self.store,
            &self.session,
            &Progress::default(),
            &self.cancel,
        ))
    }

    pub(crate) fn push_manifest(
        &self,
        reference: &str,
        bytes: Vec<u8>,
    ) -> Result<Digest, RegistryError> {
        let reference = image(reference);
        self.wait(self.client.push_manifest(
            &reference,
            OCI_MANIFEST,
            bytes,
            &self.session,
            &self.cancel,
        ))
    }
}

pub(crate) fn image(text: &str) -> ImageReference {
    text.parse().expect(text)
}

pub(crate) fn blob(data: &[u8]) -> Descriptor {
    Descriptor::of("application/vnd.oci.image.layer.v1.tar", data)
}

/// A manifest without layers, whose config is `{}`.
pub(crate) fn manifest() -> Vec<u8> {
    let config = Digest::of(b"{}");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[]}}"#
    )
    .into_bytes()
}

/// Settings for one host.
pub(crate) fn host_config(host: &str, settings: HostConfig) -> RegistryConfig {
    RegistryConfig {
        hosts: [(host.to_owned(), settings)].into(),
        ..RegistryConfig::default()
    }
}

/// A `config.json` with one user.
pub(crate) fn docker_config(host: &str, user: &str, password: &str) -> String {
    format!(r#"{{"auths": {{"{host}": {{"username": "{user}", "password": "{password}"}}}}}}"#)
}
