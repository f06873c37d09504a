//! Why there is no network.

use std::io;

use crate::CniError;
use crate::Subnet;

/// Why steps have no network of the kind that was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The kernel refused something.
    #[error("network: {doing}: {source}")]
    System {
        /// What was being done, and to what.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The bridge's name cannot be one.
    #[error("bridgeName {0:?}: expected 1 to 15 letters, digits, dots, dashes or underscores")]
    BridgeName(String),
    /// Something else is already reached by the addresses of the bridge.
    #[error("bridgeSubnet {subnet}: {device} has addresses of it already; set another")]
    Overlap {
        /// What was to be used.
        subnet: Subnet,
        /// Which device is in the way.
        device: String,
    },
    /// Another process has the bridge or its addresses.
    #[error("bridge {bridge} ({subnet}): another process uses it; set bridgeName and bridgeSubnet")]
    Taken {
        /// The bridge.
        bridge: String,
        /// Its addresses.
        subnet: Subnet,
    },
    /// All addresses are in use.
    #[error("bridgeSubnet {0}: no address is free")]
    Full(Subnet),
    /// A plugin or its configuration is at fault.
    #[error(transparent)]
    Cni(#[from] CniError),
    /// There is no program that connects an ordinary user's namespace.
    #[error("neither pasta nor slirp4netns is installed")]
    NoUplink,
    /// The program that connects an ordinary user's namespace does not.
    #[error("{program}: {reason}")]
    Uplink {
        /// pasta or slirp4netns.
        program: String,
        /// What it said.
        reason: String,
    },
    /// The networks have been taken down.
    #[error("the networks of steps are being taken down")]
    Stopped,
}

/// Says what was being done when a system call failed.
pub(crate) trait Doing<T> {
    /// Turns the error into one that begins with what `doing` returns.
    fn doing<D: Into<String>>(self, doing: impl FnOnce() -> D) -> Result<T, NetworkError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing<D: Into<String>>(self, doing: impl FnOnce() -> D) -> Result<T, NetworkError> {
        self.map_err(|source| NetworkError::System {
            doing: doing().into(),
            source: source.into(),
        })
    }
}
