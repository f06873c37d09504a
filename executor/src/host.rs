//! Files of the host in a step: what its administrator has described as devices (row EXC-35), and
//! programs that run those of another machine (row EXC-38).
//!
//! A build only names a device. Every path here comes from files that the administrator wrote.

use std::path::PathBuf;

/// What a step gets of the host's devices. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostDevices {
    /// `K=V`; replaces variables of the step with the same name.
    pub env: Vec<String>,
    /// Devices.
    pub nodes: Vec<DeviceNode>,
    /// Libraries, programs and sockets that belong to them.
    pub mounts: Vec<HostMount>,
    /// Further groups of the process.
    pub groups: Vec<u32>,
    /// What belongs to them and steps do not get; the user is told.
    pub left_out: Vec<String>,
}

/// A device of the host in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// The node on the host.
    pub path: PathBuf,
    /// Where the step sees it; absolute.
    pub dest: String,
    /// What may be done with it: letters of `rwm` (read, write, make).
    pub access: String,
}

/// A file or directory of the host in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostMount {
    /// The file or directory on the host, with all that is mounted below it.
    pub path: PathBuf,
    /// Where the step sees it; absolute.
    pub dest: String,
    /// Whether writing is refused.
    pub readonly: bool,
    /// Whether set-id programs in it lose their power.
    pub nosuid: bool,
    /// Whether device nodes in it do nothing.
    pub nodev: bool,
    /// Whether programs in it cannot be started.
    pub noexec: bool,
}

impl HostDevices {
    /// Adds what another device brings.
    pub fn merge(&mut self, other: Self) {
        self.env.extend(other.env);
        self.nodes.extend(other.nodes);
        self.mounts.extend(other.mounts);
        self.groups.extend(other.groups);
        self.left_out.extend(other.left_out);
    }
}
