//! What an executor works with.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use lamina_network::Networks;
use lamina_snapshotter::Mounter;
use lamina_snapshotter::SnapshotStore;
use lamina_types::Blocking;

use crate::ProcessLimit;

/// Which program makes the sandbox of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Our own code.
    Builtin,
    /// An OCI runtime such as crun or runc, by name or path.
    Oci(PathBuf),
}

/// What steps know of name servers, where it differs from the host (rows EXC-37, CFG-04). Empty =
/// as the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsConfig {
    /// Servers to ask.
    pub nameservers: Vec<IpAddr>,
    /// Options of the resolver, such as `ndots:1`.
    pub options: Vec<String>,
    /// Domains that are tried for short names.
    pub search: Vec<String>,
}

/// What an executor works with.
pub struct ExecutorOptions {
    /// What makes the sandboxes.
    pub runtime: RuntimeKind,
    /// What makes the mounts.
    pub mounter: Arc<dyn Mounter>,
    /// The store of the layers; a read-only root gets a throw-away layer for its mount points.
    pub store: SnapshotStore,
    /// Where work on files is done.
    pub blocking: Blocking,
    /// The program that calls [`runtime_main`](crate::runtime_main) when its first argument is
    /// `runtime`; usually `/proc/self/exe`.
    pub program: PathBuf,
    /// A directory of ours, for this process alone, best in memory.
    pub run_dir: PathBuf,
    /// What steps know of name servers.
    pub dns: DnsConfig,
    /// The parent of the control groups of steps that name none; empty for ours (row CFG-06).
    pub cgroup_parent: String,
    /// How many processes and threads each step may have.
    pub max_processes: ProcessLimit,
    /// Where steps are that ask for no network in particular (row EXC-29).
    pub networks: Networks,
}
