//! What the runtime finds out once, for all steps.

use std::path::Path;

use crate::cgroup::Hierarchy;
use crate::cgroup::hierarchies;
use crate::seccomp;
use crate::sys::SockFilter;

/// Facts about this machine and our place on it.
pub(crate) struct Machine {
    /// The filter of confined steps, or why it could not be compiled.
    pub(crate) filter: Result<Vec<SockFilter>, String>,
    /// Whether we are in a user namespace, where some mounts need other options.
    pub(crate) in_user_namespace: bool,
    /// Whether processes may choose their supplementary groups; not with a single id.
    pub(crate) can_set_groups: bool,
    /// The control group trees that steps see.
    pub(crate) hierarchies: Vec<Hierarchy>,
}

impl Machine {
    /// Looks around.
    pub(crate) fn probe() -> Self {
        Self {
            filter: seccomp::compile().map_err(|error| error.to_string()),
            in_user_namespace: in_user_namespace(),
            can_set_groups: read("/proc/self/setgroups").trim() != "deny",
            hierarchies: hierarchies()
                .into_iter()
                .filter(|tree| tree.mount_point.starts_with("/sys/fs/cgroup"))
                .collect(),
        }
    }
}

/// Says whether ids are mapped: only the first user namespace has all ids, each as itself.
pub(crate) fn in_user_namespace() -> bool {
    let map = read("/proc/self/uid_map");
    let all: Vec<&str> = map.split_whitespace().collect();
    all != ["0", "0", "4294967295"]
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(path)).unwrap_or_default()
}
