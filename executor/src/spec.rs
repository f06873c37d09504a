//! What a step is: the description that callers give and what they get back.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::LayerStack;
use nix::sys::signal::Signal;

use crate::HostDevices;
use crate::OnConnect;
use crate::Resources;

/// One process to run, with all that it may see.
pub struct ProcessSpec {
    /// Program and arguments; no shell, the program is looked up in the step's PATH (row EXC-01).
    pub args: Vec<String>,
    /// `K=V` in order, given on exactly; PATH and HOME are added if absent (row EXC-02).
    pub env: Vec<String>,
    /// Working directory; made if missing (row EXC-03).
    pub cwd: String,
    /// As in the image config: empty, name, uid, `name:group`, `uid:gid` (row EXC-04).
    pub user: String,
    /// Host name; empty for `buildkitsandbox` (row EXC-07).
    pub hostname: String,
    /// Further lines of /etc/hosts (row EXC-06).
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// Which network the step sees.
    pub network: NetworkMode,
    /// How much the step may do.
    pub security: SecurityMode,
    /// Resource limits; none leaves the limits of the daemon (row EXC-08).
    pub ulimits: Vec<Ulimit>,
    /// Parent control group; empty for the executor's (row EXC-09).
    pub cgroup_parent: String,
    /// What of memory and processors may be used; what cannot be limited here is warned of.
    pub resources: Resources,
    /// Devices of the host (row EXC-35); whether a build may have them is the caller's business.
    pub devices: HostDevices,
    /// A program of the host that runs the step's programs, if the kernel looks for it inside the
    /// step (row EXC-38). It is mounted at its own path.
    pub emulator: Option<PathBuf>,
    /// Also remove the parent directories that were made for mount points (row EXC-10).
    pub remove_mount_stubs_recursive: bool,
    /// The root file system.
    pub root: Root,
    /// Everything else that is mounted; of several with one destination the last one counts.
    pub mounts: Vec<StepMount>,
}

/// A further process in the sandbox of another, whose mounts, network and host name it shares.
#[derive(Clone, Debug)]
pub struct JoinSpec {
    /// As [`ProcessSpec::args`].
    pub args: Vec<String>,
    /// As [`ProcessSpec::env`].
    pub env: Vec<String>,
    /// As [`ProcessSpec::cwd`].
    pub cwd: String,
    /// As [`ProcessSpec::user`], looked up as the root is now.
    pub user: String,
    /// How much this process may do. What the sandbox hides or forbids as a whole is decided by
    /// its first one.
    pub security: SecurityMode,
    /// As [`ProcessSpec::ulimits`].
    pub ulimits: Vec<Ulimit>,
}

/// One resource limit (row EXC-08).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// Lower-case name without prefix, such as `nofile`.
    pub name: String,
    /// The limit that is enforced; `u64::MAX` for none.
    pub soft: u64,
    /// The highest value that the soft limit may be set to; `u64::MAX` for none.
    pub hard: u64,
}

/// The network of a step (rows EXC-29 to EXC-31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkMode {
    /// What [`ExecutorOptions::networks`](crate::ExecutorOptions::networks) gives: a namespace with
    /// a way out, or the host's network.
    Sandbox,
    /// The host's network; whether a build may ask for it is the caller's business.
    Host,
    /// Loopback only.
    None,
}

/// The privileges of a step (rows EXC-32 and EXC-33).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityMode {
    /// Docker's default capabilities and system calls, kernel interfaces masked.
    Sandbox,
    /// Everything; whether a build may ask for it is the caller's business.
    Insecure,
}

/// The root file system of a step.
pub enum Root {
    /// Writable. Mount points and the working directory are made in the layer before it is mounted;
    /// mount points are removed again afterwards, by identity.
    Active(ActiveLayer),
    /// Read-only. Mount points that it lacks are made in a layer that is thrown away.
    ReadOnly(LayerStack),
}

/// One mount of a step.
pub struct StepMount {
    /// Where: absolute, or relative to the working directory (row EXC-15).
    pub dest: String,
    /// What.
    pub kind: MountKind,
    /// Whether writing is refused.
    pub readonly: bool,
}

/// What is mounted. A `selector` names a file or directory inside; links are resolved inside too.
pub enum MountKind {
    /// A view of layers, never writable.
    View {
        /// The layers.
        stack: LayerStack,
        /// What of them (row EXC-14).
        selector: String,
    },
    /// A layer being made.
    Active {
        /// The layer; given back in [`Finished::mounts`].
        layer: ActiveLayer,
        /// What of it.
        selector: String,
    },
    /// A directory of the host that we own, such as a cache mount.
    Directory {
        /// The directory, opened by its owner.
        dir: OwnedFd,
        /// What of it.
        selector: String,
    },
    /// An empty file system in memory (row EXC-25).
    Tmpfs {
        /// How much it may hold; `None` for the kernel's default.
        size_bytes: Option<u64>,
    },
    /// A file with this content on a tmpfs: never on disk (row EXC-26).
    Secret {
        /// Content.
        data: Vec<u8>,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
    /// A unix socket that is served by the caller as long as the step lives (row EXC-27).
    Socket {
        /// Called for each connection, on the runtime that runs the step.
        on_connect: OnConnect,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Permission bits; who may write may connect.
        mode: u32,
    },
}

/// What is left when the process has ended: the layers, for commit also after a failure (row ERR-03).
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// The root's layer, if it was an active one.
    pub root: Option<ActiveLayer>,
    /// The layers of the mounts that had one, by index of [`ProcessSpec::mounts`].
    pub mounts: Vec<Option<ActiveLayer>>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
    /// Failed after the kernel had killed one of its processes for want of memory.
    OutOfMemory,
}

impl ExitStatus {
    /// Names the signal that killed the process, such as `SIGSEGV`, if one did that has a name.
    #[must_use]
    pub fn signal_name(self) -> Option<&'static str> {
        match self {
            Self::Signal(number) => Some(Signal::try_from(number).ok()?.as_str()),
            Self::Code(_) | Self::OutOfMemory => None,
        }
    }
}
