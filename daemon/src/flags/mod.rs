//! The flags, which are BuildKit's (section 12.1 of the inventory).
//!
//! Every flag takes `--flag value` and `--flag=value`; switches are `--flag` or `--flag=false`, with
//! the words that Go's parser knows. Flags that have no effect here are in [`ignored`].

mod ignored;
mod switch;

use std::path::PathBuf;

use clap::Args;

pub(crate) use ignored::Ignored;

/// The flags of the daemon (section 12.1).
#[derive(Debug, Args)]
pub struct DaemonArgs {
    #[command(flatten)]
    pub(crate) main: MainFlags,
    #[command(flatten)]
    pub(crate) worker: WorkerFlags,
    #[command(flatten)]
    pub(crate) ignored: Ignored,
}

/// Flags of the daemon as a whole.
#[derive(Debug, Default, Args)]
pub(crate) struct MainFlags {
    /// Configuration file [default: /etc/buildkit/buildkitd.toml, or ~/.config/buildkit/buildkitd.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// State folder [default: /var/lib/lamina, or ~/.local/share/lamina]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Address to listen on: unix://PATH, tcp://HOST:PORT, fd:// for a socket of systemd; several
    /// may be given [default: unix:///run/buildkit/buildkitd.sock, or
    /// unix://$XDG_RUNTIME_DIR/buildkit/buildkitd.sock]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) addr: Vec<String>,
    /// Group that may use the unix sockets, by name or number
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// The same as --log-level debug
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = switch::parse, value_name = "BOOL")]
    pub(crate) debug: Option<bool>,
    /// The same as --log-level trace
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = switch::parse, value_name = "BOOL")]
    pub(crate) trace: Option<bool>,
    /// What the log tells: error, warn, info, debug, trace [default: info]
    #[arg(long, env = "BUILDKITD_LOG_LEVEL", value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Form of the log: text, json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Certificate that tcp clients see
    #[arg(long, value_name = "FILE")]
    pub(crate) tlscert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE")]
    pub(crate) tlskey: Option<PathBuf>,
    /// Authority that must have signed the certificates of tcp clients
    #[arg(long, value_name = "FILE")]
    pub(crate) tlscacert: Option<PathBuf>,
    /// Privilege that builds may ask for: network.host, security.insecure (device is granted while
    /// CDI is not disabled)
    #[arg(long, value_name = "ENTITLEMENT")]
    pub(crate) allow_insecure_entitlement: Vec<String>,
    /// Know no devices of the host
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = switch::parse, value_name = "BOOL")]
    pub(crate) cdi_disabled: Option<bool>,
    /// Folder with descriptions of devices (CDI); several may be given
    /// [default: /etc/cdi, /var/run/cdi, /etc/buildkit/cdi]
    #[arg(long, value_name = "DIR")]
    pub(crate) cdi_spec_dir: Vec<PathBuf>,
}

/// Flags of what runs the steps.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Worker")]
pub(crate) struct WorkerFlags {
    /// Label of the worker, as KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) oci_worker_labels: Vec<String>,
    /// What makes the trees that steps see: auto, overlayfs, fuse-overlayfs, native [default: auto]
    #[arg(long, value_name = "NAME")]
    pub(crate) oci_worker_snapshotter: Option<String>,
    /// Platform that steps can be run for, instead of those that are found
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) oci_worker_platform: Vec<String>,
    /// An OCI runtime that runs steps, by name or path, instead of the built-in one
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) oci_worker_binary: Option<PathBuf>,
    /// Collect what has not been used for long after builds [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = switch::parse, value_name = "BOOL")]
    pub(crate) oci_worker_gc: Option<bool>,
    /// What the collection keeps, in MB: RESERVED[,FREE[,MAXIMUM]]
    #[arg(long, value_name = "SIZES")]
    pub(crate) oci_worker_gc_keepstorage: Option<String>,
    /// Network of steps that ask for none in particular: auto, host, bridge, cni [default: auto]
    #[arg(long, value_name = "MODE")]
    pub(crate) oci_worker_net: Option<String>,
    /// Configuration of the CNI plugins [default: /etc/buildkit/cni.json, or ~/.config/buildkit/cni.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) oci_cni_config_path: Option<PathBuf>,
    /// Where the CNI plugins are [default: /opt/cni/bin]
    #[arg(long, value_name = "DIR")]
    pub(crate) oci_cni_binary_dir: Option<PathBuf>,
    /// How many networks are kept ready, of the bridge's too
    #[arg(long, value_name = "NUMBER")]
    pub(crate) oci_cni_pool_size: Option<usize>,
    /// How many steps run at once [default: one per processor, at least four]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) oci_max_parallelism: Option<usize>,
}

#[cfg(test)]
mod tests;
