//! `buildkitd.toml` (section 12.2 of the inventory): what the file says, before flags and places.
//!
//! ```toml
//! root = "/var/lib/lamina"
//! insecure-entitlements = ["network.host"]
//!
//! [grpc]
//! address = ["unix:///run/buildkit/buildkitd.sock"]
//!
//! [worker.oci]
//! max-parallelism = 4
//! gc = true
//! reservedSpace = "10GB"     # or a number of bytes, or "10%" of the disk
//!
//! [[worker.oci.gcpolicy]]
//! keepDuration = "48h"       # or a number of seconds
//! maxUsedSpace = "20GB"
//!
//! [step]                     # ours
//! logMaxSize = "1GB"
//!
//! [registry."docker.io"]
//! mirrors = ["localhost:5000"]
//! ```
//! Keys are found in any case, as BuildKit does. A value of the wrong kind is an error that names
//! the key; an unknown key is a warning with its path (row CFG-14).

mod read;
mod section;
mod size;
mod step;
mod time;

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

#[cfg(test)]
pub(crate) use read::parse;
pub(crate) use section::ConfigError;
pub(crate) use size::Size;
pub(crate) use step::Step;
pub use time::parse_duration;

use lamina_types::IoContext as _;

/// What a file says. `None` and empty = nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) root: Option<PathBuf>,
    pub(crate) debug: bool,
    pub(crate) trace: bool,
    pub(crate) log_format: Option<String>,
    pub(crate) log_level: Option<String>,
    pub(crate) entitlements: Option<Vec<String>>,
    pub(crate) grpc: Grpc,
    pub(crate) worker: Worker,
    pub(crate) history: History,
    pub(crate) step: Step,
    pub(crate) dns: Dns,
    pub(crate) cdi: Cdi,
    pub(crate) registries: BTreeMap<String, Registry>,
    pub(crate) frontends: Frontends,
    /// `[system] platformsCacheMaxAge` (rows CFG-13, CTL-05).
    pub(crate) platforms_max_age: Option<Duration>,
    /// Paths of keys that nobody knows.
    pub(crate) unknown: Vec<String>,
    /// Paths of keys that ask for what there is not here.
    pub(crate) without_effect: Vec<String>,
}

/// `[grpc]` (row CFG-03).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Grpc {
    pub(crate) address: Vec<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
}

/// `[worker.oci]` (rows CFG-06, CFG-07).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) platforms: Vec<String>,
    pub(crate) snapshotter: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) max_parallelism: Option<usize>,
    pub(crate) network: Network,
    pub(crate) binary: Option<PathBuf>,
    /// `defaultCgroupParent`.
    pub(crate) cgroup_parent: Option<String>,
    pub(crate) gc: Option<bool>,
    pub(crate) caps: Caps,
    pub(crate) policies: Vec<Policy>,
}

/// The network of steps (row CFG-09).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) mode: Option<String>,
    pub(crate) cni_config: Option<PathBuf>,
    pub(crate) cni_plugins: Option<PathBuf>,
    pub(crate) pool_size: Option<usize>,
    pub(crate) bridge_name: Option<String>,
    pub(crate) bridge_subnet: Option<String>,
}

/// How much the cache may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caps {
    pub(crate) reserved_space: Size,
    pub(crate) max_used_space: Size,
    pub(crate) min_free_space: Size,
}

/// `[[worker.oci.gcpolicy]]` (row CFG-07).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) all: bool,
    pub(crate) filters: Vec<String>,
    pub(crate) keep_duration: Duration,
    pub(crate) caps: Caps,
}

/// `[history]` (row CFG-05).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_entries: Option<usize>,
}

/// `[cdi]` (row CFG-13).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cdi {
    pub(crate) disabled: Option<bool>,
    pub(crate) spec_dirs: Vec<PathBuf>,
    pub(crate) auto_allowed: Vec<String>,
}

/// `[dns]` (row CFG-04).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Dns {
    pub(crate) nameservers: Vec<String>,
    pub(crate) options: Vec<String>,
    pub(crate) search_domains: Vec<String>,
}

/// `[registry."HOST"]` (row CFG-11).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Registry {
    pub(crate) mirrors: Vec<String>,
    pub(crate) http: bool,
    pub(crate) insecure: bool,
    pub(crate) ca: Vec<PathBuf>,
    /// Certificate and key.
    pub(crate) key_pairs: Vec<(PathBuf, PathBuf)>,
    pub(crate) tls_folders: Vec<PathBuf>,
}

/// `[frontend."NAME"]` (row CFG-12).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Frontends {
    pub(crate) dockerfile_enabled: Option<bool>,
    pub(crate) gateway_enabled: Option<bool>,
    pub(crate) allowed_repositories: Vec<String>,
}

/// Reads a file; one that does not exist says nothing.
pub(crate) fn load(path: &Path) -> Result<Option<Config>, ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error).at(path.display())?,
    };
    read::parse(&text)
        .map(Some)
        .map_err(|error| ConfigError::File {
            path: path.display().to_string(),
            error: Box::new(error),
        })
}
