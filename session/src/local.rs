//! A client in this process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::Credentials;
use crate::DockerConfig;
use crate::FileTarget;
use crate::LocalOwner;
use crate::Session;
use crate::SessionError;
use crate::secret::SecretSource;
use crate::target;
use crate::target::Target;

/// Answers a build from what the builder was given; see [`LocalSession::builder`].
///
/// `Debug` shows names and places and never a secret's value.
#[derive(Debug)]
pub struct LocalSession {
    id: String,
    offers: LocalSessionBuilder,
}

/// Collects what a [`LocalSession`] offers. A later value for the same name replaces the earlier.
#[derive(Debug, Default)]
pub struct LocalSessionBuilder {
    shared_key: String,
    owner: LocalOwner,
    directories: BTreeMap<String, PathBuf>,
    layouts: BTreeMap<String, PathBuf>,
    secrets: BTreeMap<String, SecretSource>,
    docker_config: Option<DockerConfig>,
    targets: BTreeMap<usize, Target>,
}

impl LocalSession {
    /// Starts a session that offers nothing yet.
    #[must_use]
    pub fn builder() -> LocalSessionBuilder {
        LocalSessionBuilder::default()
    }

    fn target(&self, exporter: usize) -> Result<&Target, SessionError> {
        self.offers
            .targets
            .get(&exporter)
            .ok_or(SessionError::NoTarget { exporter })
    }
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
        self.layouts.insert(name.into(), dir.into());
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
        LocalSession {
            id: fresh_id(),
            offers: self,
        }
    }
}

/// 25 letters and digits, as BuildKit's clients make them: enough to be unique, and not a secret.
fn fresh_id() -> String {
    let mut bytes = [0; 16];
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        bytes = fallback_number().to_le_bytes();
    }
    let mut rest = u128::from_le_bytes(bytes);
    (0..25)
        .map(|_| {
            let digit = u32::try_from(rest % 36).unwrap_or_default();
            rest /= 36;
            char::from_digit(digit, 36).unwrap_or('0')
        })
        .collect()
}

/// For systems that refuse random numbers: time, process and a count are unique together.
fn fallback_number() -> u128 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanoseconds = SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |elapsed| elapsed.as_nanos());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    nanoseconds << 48 | u128::from(std::process::id()) << 16 | u128::from(count & 0xffff)
}

#[async_trait]
impl Session for LocalSession {
    fn id(&self) -> &str {
        &self.id
    }

    fn shared_key(&self) -> &str {
        &self.offers.shared_key
    }

    fn local_owner(&self) -> LocalOwner {
        self.offers.owner
    }

    async fn local_dir(&self, name: &str) -> Result<PathBuf, SessionError> {
        let dir = self.offers.directories.get(name).cloned();
        dir.ok_or_else(|| SessionError::NoSuchDirectory {
            name: name.to_owned(),
        })
    }

    async fn oci_layout(&self, name: &str) -> Result<PathBuf, SessionError> {
        let dir = self.offers.layouts.get(name).cloned();
        dir.ok_or_else(|| SessionError::NoSuchLayout {
            name: name.to_owned(),
        })
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

    async fn file_target(&self, exporter: usize) -> Result<Box<dyn FileTarget>, SessionError> {
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

    async fn directory_target(&self, exporter: usize) -> Result<PathBuf, SessionError> {
        match self.target(exporter)? {
            Target::Directory(path) => target::make_directory(path),
            other => Err(SessionError::WrongTarget {
                exporter,
                given: other.describe(),
                wanted: "a directory",
            }),
        }
    }
}
