//! Where state, sockets and configuration are, unless somebody says otherwise.
//!
//! | what | root | ordinary user, or root of a user namespace |
//! |---|---|---|
//! | state | `/var/lib/lamina` | `$XDG_DATA_HOME/lamina`, `~/.local/share/lamina` |
//! | what must not outlive a process | `/run/lamina` | `$XDG_RUNTIME_DIR/lamina` |
//! | socket | `/run/buildkit/buildkitd.sock` | `$XDG_RUNTIME_DIR/buildkit/buildkitd.sock` |
//! | configuration | `/etc/buildkit/buildkitd.toml` | `~/.config/buildkit/buildkitd.toml` |
//! | CNI plugins' configuration | `/etc/buildkit/cni.json` | `~/.config/buildkit/cni.json` |
//!
//! Socket and configuration are where clients and scripts expect BuildKit's (rows NET-01, FLG-01).

use std::path::PathBuf;

use lamina_executor::userns;
use lamina_executor::userns::IdMapping;

/// Returns the state folder for a user with these ids who named none.
#[must_use]
pub fn default_root(ids: &IdMapping) -> PathBuf {
    match ids {
        IdMapping::Root => PathBuf::from("/var/lib/lamina"),
        _ => data_home().join("lamina"),
    }
}

/// Returns the folder for secrets and the like; best in memory.
#[must_use]
pub fn run_dir(ids: &IdMapping) -> PathBuf {
    match (ids, variable("XDG_RUNTIME_DIR")) {
        (IdMapping::Root, _) => PathBuf::from("/run/lamina"),
        (_, Some(dir)) => dir.join("lamina"),
        _ => data_home().join("lamina-run"),
    }
}

/// Returns the path of the socket that a daemon of this user listens on. The same inside and
/// outside of the user's namespace.
#[must_use]
pub fn default_socket() -> PathBuf {
    match (is_rootless(), variable("XDG_RUNTIME_DIR")) {
        (false, _) => PathBuf::from("/run/buildkit/buildkitd.sock"),
        (true, Some(dir)) => dir.join("buildkit/buildkitd.sock"),
        (true, None) => data_home().join("lamina-run/buildkitd.sock"),
    }
}

/// Returns the path of the configuration file.
#[must_use]
pub fn default_config() -> PathBuf {
    config_folder().join("buildkitd.toml")
}

/// Returns the path of the configuration of CNI plugins (row FLG-13).
#[must_use]
pub fn default_cni_config() -> PathBuf {
    config_folder().join("cni.json")
}

fn config_folder() -> PathBuf {
    let folder = if is_rootless() {
        variable("XDG_CONFIG_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".config")))
            .unwrap_or_else(|| PathBuf::from("/etc"))
    } else {
        PathBuf::from("/etc")
    };
    folder.join("buildkit")
}

/// Says whether this process is not the machine's root: an ordinary user, or root of a user
/// namespace.
#[must_use]
pub fn is_rootless() -> bool {
    !rustix::process::geteuid().is_root() || userns::mapping() != IdMapping::Root
}

fn data_home() -> PathBuf {
    variable("XDG_DATA_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
        .unwrap_or_else(std::env::temp_dir)
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
