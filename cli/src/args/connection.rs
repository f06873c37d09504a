//! Which daemon a command is for.

use std::path::PathBuf;

use clap::Args;

/// How a daemon is reached (row CLI-01).
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Daemon")]
pub(crate) struct ConnectionArgs {
    /// Daemon to use: unix://PATH or tcp://HOST:PORT [env: BUILDKIT_HOST] [default: this user's]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) addr: Option<String>,
    /// Authority that signed the certificate of a tcp daemon
    #[arg(long, value_name = "FILE")]
    pub(crate) tlscacert: Option<PathBuf>,
    /// Certificate to show to a tcp daemon
    #[arg(long, value_name = "FILE")]
    pub(crate) tlscert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE")]
    pub(crate) tlskey: Option<PathBuf>,
    /// Folder with ca.pem, cert.pem and key.pem
    #[arg(long, value_name = "DIR", conflicts_with_all = ["tlscacert", "tlscert", "tlskey"])]
    pub(crate) tlsdir: Option<PathBuf>,
    /// Name in the certificate of a tcp daemon, if it is not the host's
    #[arg(long, value_name = "NAME")]
    pub(crate) tlsservername: Option<String>,
}
