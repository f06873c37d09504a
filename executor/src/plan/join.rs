//! From a [`JoinSpec`] to descriptors and a description: a process in the sandbox of another.

use std::os::fd::OwnedFd;

use lamina_snapshotter::Tree;
use lamina_types::RootedPath;

use super::Ends;
use super::Engine;
use super::KEEP_OPEN;
use super::environment;
use super::oci_runtime;
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
use crate::wire::ROOT;

/// What processes that join a sandbox need of it.
pub(crate) struct Inside {
    /// The root, where users are looked up.
    pub(crate) tree: Tree,
    /// The control groups of its processes.
    pub(crate) cgroups: Vec<OwnedFd>,
    /// Its processes are in the host's network.
    pub(crate) shares_network: bool,
}

/// Prepares a process that joins the sandbox of `process`; returns what to send to it.
///
/// # Errors
/// Nothing is left then.
pub(crate) fn join(
    engine: &Engine,
    spec: JoinSpec,
    inside: &Inside,
    (process, ends): (OwnedFd, Ends),
) -> Result<Vec<OwnedFd>, ExecError> {
    environment::check(&spec.args, &spec.env, &spec.cwd, &spec.ulimits)?;
    let who = user::look_up(&inside.tree, &spec.user)?;
    let mut description = Description {
        terminal: ends.terminal,
        tells_start: ends.started.is_some(),
        // The runtime knows the groups of its container.
        oci_runtime: oci_runtime(engine, String::new()),
        stage: engine.stage.to_string_lossy().into_owned(),
        ..describe(spec, who, inside)
    };
    let mut descriptors: Vec<OwnedFd> = ends.standard.into_iter().collect();
    descriptors.push(process);
    description.first_cgroup = descriptors.len();
    for group in &inside.cgroups {
        descriptors.push(group.try_clone().doing(KEEP_OPEN)?);
    }
    descriptors.extend(ends.started);
    with_payload(description, descriptors, &Blobs::default())
}

fn describe(spec: JoinSpec, user: Identity, inside: &Inside) -> Description {
    let network = match inside.shares_network {
        true => Network::Shared,
        // The first process leads to it.
        false => Network::Given { index: ROOT },
    };
    Description {
        env: environment::complete(&spec.env, || user::home(&inside.tree, user.uid)),
        limits: environment::limits(&spec.ulimits),
        pid_max: None,
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
