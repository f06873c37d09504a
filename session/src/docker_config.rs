//! Credentials as the Docker command line keeps them.
//!
//! `config.json` in the folder that `DOCKER_CONFIG` names, else in `~/.docker`, holds credentials
//! (`auths`) or names programs that do (`credHelpers` for single registries, `credsStore` for all).
//! The file is read anew for every question, so that a login during a long build counts.

use std::fs::File;
use std::io;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;

use docker_credential::CredentialRetrievalError;
use docker_credential::DockerCredential;
use tokio::sync::oneshot;

use crate::Credentials;
use crate::SessionError;

/// The key under which Docker keeps the credentials of Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// What Docker Hub is called on the wire and in references.
const DOCKER_HUB_HOSTS: [&str; 3] = ["registry-1.docker.io", "docker.io", "index.docker.io"];

/// Programs answer with this text when they have nothing for a registry.
const HELPER_HAS_NONE: &str = "credentials not found";

/// A folder with a `config.json` in Docker's format; the file need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerConfig {
    file: PathBuf,
}

impl DockerConfig {
    /// Uses the `config.json` in `dir`.
    pub fn in_dir(dir: impl AsRef<Path>) -> Self {
        Self {
            file: dir.as_ref().join("config.json"),
        }
    }

    /// Uses the folder that `DOCKER_CONFIG` names, else `.docker` in the home; `None` without both.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let not_empty = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        not_empty("DOCKER_CONFIG").map(Self::in_dir).or_else(|| {
            not_empty("HOME").map(|home| Self::in_dir(Path::new(&home).join(".docker")))
        })
    }

    /// Returns the credentials for `host`, asking a helper program where one is configured.
    ///
    /// The program may take its time, so this runs on a thread of its own.
    ///
    /// # Errors
    /// [`SessionError::Credentials`] if the file cannot be read or is malformed, or the program
    /// fails for another reason than having nothing.
    pub async fn credentials(&self, host: &str) -> Result<Option<Credentials>, SessionError> {
        let (sender, receiver) = oneshot::channel();
        let (config, host_name) = (self.clone(), host.to_owned());
        std::thread::spawn(move || {
            // The receiver is gone if nobody waits for the answer any more.
            drop(sender.send(config.credentials_blocking(&host_name)));
        });
        receiver.await.unwrap_or_else(|_| {
            Err(failure(
                host,
                "the look-up ended without an answer".to_owned(),
            ))
        })
    }

    fn credentials_blocking(&self, host: &str) -> Result<Option<Credentials>, SessionError> {
        for key in config_keys(host) {
            let file = match File::open(&self.file) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(self.unreadable(host, &error)),
            };
            let found = docker_credential::get_credential_from_reader(BufReader::new(file), &key);
            match found {
                Ok(credential) => return Ok(usable(credential)),
                Err(error) if has_none(&error) => {}
                Err(error) => return Err(self.explain(host, &error)),
            }
        }
        Ok(None)
    }

    fn unreadable(&self, host: &str, error: &io::Error) -> SessionError {
        failure(host, format!("{}: {error}", self.file.display()))
    }

    fn explain(&self, host: &str, error: &CredentialRetrievalError) -> SessionError {
        let file = self.file.display();
        let reason = match error {
            CredentialRetrievalError::ConfigReadError => {
                format!("{file}: not a Docker configuration file")
            }
            CredentialRetrievalError::CredentialDecodingError => {
                format!("{file}: the entry is malformed")
            }
            CredentialRetrievalError::HelperFailure { helper, stderr, .. } => format!(
                "docker-credential-{helper} failed: {}",
                stderr.lines().next().unwrap_or("no message")
            ),
            CredentialRetrievalError::HelperCommunicationError => {
                format!("{file}: the credential helper cannot be run")
            }
            other => format!("{file}: {other}"),
        };
        failure(host, reason)
    }
}

fn failure(host: &str, reason: String) -> SessionError {
    SessionError::Credentials {
        host: host.to_owned(),
        reason,
    }
}

/// An account without a password is how some tools write "logged out".
fn usable(credential: DockerCredential) -> Option<Credentials> {
    let credentials = match credential {
        DockerCredential::IdentityToken(secret) => Credentials {
            username: String::new(),
            secret,
        },
        DockerCredential::UsernamePassword(username, secret) => Credentials { username, secret },
    };
    (!credentials.secret.is_empty()).then_some(credentials)
}

fn has_none(error: &CredentialRetrievalError) -> bool {
    match error {
        CredentialRetrievalError::NoCredentialConfigured => true,
        CredentialRetrievalError::HelperFailure { stdout, stderr, .. } => {
            stdout.contains(HELPER_HAS_NONE) || stderr.contains(HELPER_HAS_NONE)
        }
        _ => false,
    }
}

/// The names that `host` may have in the file, the usual one first.
fn config_keys(host: &str) -> Vec<String> {
    if DOCKER_HUB_HOSTS.contains(&host) {
        let mut keys = vec![DOCKER_HUB_KEY.to_owned()];
        keys.extend(DOCKER_HUB_HOSTS.map(str::to_owned));
        return keys;
    }
    vec![host.to_owned(), format!("https://{host}")]
}
