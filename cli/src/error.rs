//! What can go wrong before and after a build.

use lamina_types::PathError;

use crate::context::ContextError;
use crate::output::OutputError;
use crate::secrets::SecretError;

/// An error of the command itself; those of a build are [`lamina_llb::BuildError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Io(#[from] PathError),
    #[error(transparent)]
    Engine(#[from] lamina_engine::OpenError),
    #[error(transparent)]
    UserNamespace(#[from] lamina_executor::userns::UsernsError),
    #[error("--build-arg {0:?}: expected NAME=VALUE")]
    BadBuildArg(String),
    #[error("--label {0:?}: expected NAME=VALUE")]
    BadLabel(String),
    #[error("--secret id={id}: the environment has no variable {variable}")]
    UnsetVariable { id: String, variable: String },
    #[error("--tag {0:?}: {1}")]
    BadTag(String, lamina_registry::ReferenceError),
    #[error("--push needs a name: add --tag NAME")]
    PushWithoutName,
    #[error("standard input is a terminal; expected a marshalled LLB definition")]
    NoDefinition,
    #[error("standard input: not an LLB definition: {0}")]
    BadDefinition(prost::DecodeError),
    #[error("standard input is empty: expected a marshalled LLB definition")]
    EmptyDefinition,
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
    #[error("--allow: {0}; expected network.host or security.insecure")]
    Entitlement(lamina_llb::EntitlementError),
    #[error(transparent)]
    Cache(#[from] crate::caches::CacheError),
    #[error(transparent)]
    Call(#[from] crate::call::CallError),
    #[error(transparent)]
    Ssh(#[from] crate::ssh::SshError),
    #[error(transparent)]
    Policy(#[from] crate::policy::PolicyError),
    #[error("{0}{help}", help = daemon_help(.0))]
    Client(#[from] lamina_client::ClientError),
    #[error("cannot reach the daemon at {address}: {reason}; start one with `lamina daemon`")]
    Dial {
        address: String,
        reason: std::io::Error,
    },
    #[error("--add-host {0:?}: expected NAME:IP")]
    BadHost(String),
    #[error(transparent)]
    Mount(#[from] crate::run::MountError),
    #[error("{0} needs a terminal on standard input and output")]
    NoTerminal(&'static str),
    #[error("standard input or output: {0}")]
    Standard(std::io::Error),
    #[error("{0} is for builds inside the command, and --addr for builds by a daemon: drop one")]
    TwoEngines(&'static str),
    #[error("--format {0:?}: expected json or '{{{{json .}}}}'")]
    Format(String),
    #[error("the daemon remembers no builds")]
    NoBuilds,
    #[error("the daemon remembers no build {0:?}, or several that begin so; see lamina history ls")]
    NoSuchBuild(String),
}

/// Says how to get a daemon where there is none.
fn daemon_help(error: &lamina_client::ClientError) -> &'static str {
    match error {
        lamina_client::ClientError::Unreachable { .. } => "; start one with `lamina daemon`",
        _ => "",
    }
}
