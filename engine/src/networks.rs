//! The networks of steps, and how users learn of them.

use lamina_network::NetworkError;
use lamina_network::NetworkOptions;
use lamina_network::Networks;
use lamina_solver::VertexEvent;

use crate::Engine;
use crate::mounts::first_line;
use crate::state::State;

/// Where in the state folder it is noted what has to be undone.
const FOLDER: &str = "networks";

/// Starts the networks that the options ask for.
pub(crate) fn start(options: &NetworkOptions, state: &State) -> Result<Networks, NetworkError> {
    Networks::start(NetworkOptions {
        state_dir: state.root.join(FOLDER),
        ..options.clone()
    })
}

/// Returns what is asked for where nobody asks, but for what the environment says: that a bridge is to
/// be preferred, as for BuildKit, and where programs are.
pub(crate) fn options_from_environment() -> NetworkOptions {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let bridge = std::env::var("BUILDKIT_NETWORK_BRIDGE_AUTO");
    NetworkOptions {
        auto_is_bridge: bridge.is_ok_and(|value| is_true(&value)),
        search_path: std::env::split_paths(&path).collect(),
        ..NetworkOptions::default()
    }
}

/// Go's words for true.
fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Returns what a build shows first where steps could have networks of their own on another machine.
pub(crate) fn notice(networks: &Networks) -> Option<VertexEvent> {
    let notice = networks.notice()?;
    Some(first_line(format!("[internal] {notice}")))
}

impl Engine {
    /// Returns where steps are that ask for no network in particular (row EXC-29).
    #[must_use]
    pub fn networks(&self) -> &Networks {
        self.0.services.executor.networks()
    }
}
