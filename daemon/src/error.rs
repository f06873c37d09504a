//! Why the daemon does not start.

use lamina_types::PathError;

use crate::config::ConfigError;
use crate::listen::ListenError;
use crate::settings::SettingsError;

/// The daemon cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DaemonError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Io(#[from] PathError),
    #[error("cannot start: {0}")]
    Runtime(#[source] std::io::Error),
    #[error("could not lock {root}, another instance running?")]
    Locked { root: String },
    #[error("{0}")]
    Engine(#[source] Box<lamina_engine::OpenError>),
    #[error("the certificate for {address} cannot be used: {reason}")]
    Tls { address: String, reason: String },
}
