//! Settings for registries (row SRC-07).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::RetryPolicy;

/// How registries are reached. The default suits every registry with a public certificate, and
/// plain http ones on this machine.
#[derive(Clone, Debug, Default)]
pub struct RegistryConfig {
    /// Settings by host as it stands in references, with its port.
    pub hosts: BTreeMap<String, HostConfig>,
    /// What is tried again.
    pub retry: RetryPolicy,
    /// When a host is given up that takes a connection and says nothing.
    pub patience: Patience,
}

/// How long a host may say nothing, before its answer begins and in the middle of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// A registry, which is then asked again.
    pub registry: Duration,
    /// A mirror. The next place is asked then, and this one last for a while.
    pub mirror: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            registry: Duration::from_secs(60),
            // A mirror may have to ask its registry first, but is there to be fast.
            mirror: Duration::from_secs(15),
        }
    }
}

/// Settings of one host; also of one that is only a mirror.
#[derive(Clone, Debug, Default)]
pub struct HostConfig {
    /// Tried in order before the host itself, for reading only: `[http://]host[:port][/prefix]`.
    pub mirrors: Vec<String>,
    /// Uses plain http.
    pub http: bool,
    /// Accepts any certificate, and falls back to plain http.
    pub insecure: bool,
    /// Files with further root certificates in PEM.
    pub ca: Vec<PathBuf>,
    /// Certificate and key that this client shows.
    pub key_pair: Option<KeyPair>,
}

/// Files with a client certificate and its key, both in PEM.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The certificate, with its chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}
