//! Where state and what must not outlive a process are kept.

use std::path::PathBuf;

use lamina_executor::userns::IdMapping;

/// Returns the state folder for a user with these ids who named none.
pub(crate) fn default_root(ids: &IdMapping) -> PathBuf {
    match ids {
        IdMapping::Root => PathBuf::from("/var/lib/lamina"),
        _ => data_home().join("lamina"),
    }
}

/// Returns the folder for sockets, secrets and the like; best in memory.
pub(crate) fn run_dir(ids: &IdMapping) -> PathBuf {
    match (ids, std::env::var_os("XDG_RUNTIME_DIR")) {
        (IdMapping::Root, _) => PathBuf::from("/run/lamina"),
        (_, Some(dir)) if !dir.is_empty() => PathBuf::from(dir).join("lamina"),
        _ => data_home().join("lamina-run"),
    }
}

fn data_home() -> PathBuf {
    let set = |name| {
        std::env::var_os(name)
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .unwrap_or_else(std::env::temp_dir)
}
