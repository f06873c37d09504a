//! From a [`JoinSpec`] to descriptors and a description: a process in the sandbox of another.

use std::os::fd::OwnedFd;

use lamina_snapshotter::Tree;
use lamina_types::RootedPath;

use super::Ends;
use super::KEEP_OPEN;
use super::environment;
use super::with_payload;
use crate::ExecError;
use crate::JoinSpec;
use crate::SecurityMode;
use crate::error::Doing;
use crate::user;
use crate::wire::Blobs;
use crate::wire::Description;
use crate::wire::Devices;
use crate::wire::Identity;
use crate::wire::Network;

/// What processes that join a sandbox need of it.
pub(crate) struct Inside {
    /// The root, where users are looked up.
    pub(crate) tree: Tree,
    /// The control groups of its processes.
    pub(crate) cgroups: Vec<OwnedFd>,
}

/// Prepares a process that joins the sandbox of `process`; returns what to send to it.
///
/// # Errors
/// Nothing is left then.
pub(crate) fn join(
    spec: JoinSpec,
    inside: &Inside,
    network: Network,
    process: OwnedFd,
    ends: Ends,
) -> Result<Vec<OwnedFd>, ExecError> {
    environment::check(&spec.args, &spec.env, &spec.cwd, &spec.ulimits)?;
    let who = user::look_up(&inside.tree, &spec.user)?;
    let description = Description {
        terminal: ends.terminal,
        tells_start: ends.started.is_some(),
        ..describe(spec, who, inside, network)
    };
    let mut descriptors: Vec<OwnedFd> = ends.standard.into_iter().collect();
    descriptors.push(process);
    let first_cgroup = descriptors.len();
    for group in &inside.cgroups {
        descriptors.push(group.try_clone().doing(KEEP_OPEN)?);
    }
    descriptors.extend(ends.started);
    with_payload(description, (descriptors, first_cgroup), &Blobs::default())
}

fn describe(spec: JoinSpec, user: Identity, inside: &Inside, network: Network) -> Description {
    Description {
        env: environment::complete(&spec.env, || user::home(&inside.tree, user.uid)),
        limits: environment::limits(&spec.ulimits),
        args: spec.args,
        cwd: RootedPath::new(&spec.cwd).to_string(),
        user,
        hostname: String::new(),
        network,
        confined: spec.security == SecurityMode::Sandbox,
        root_readonly: false,
        stage: String::new(),
        mounts: Vec::new(),
        devices: Devices::All,
        descriptors: 0,
        first_cgroup: 0,
        oci_runtime: None,
        terminal: false,
        tells_start: false,
    }
}
