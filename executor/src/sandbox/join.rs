//! Becoming a further process of a sandbox that is there already (row EXE-09).
//!
//! The process was born in the pid namespace of the container, so whoever is in there can see it
//! from then on. It makes itself untouchable first: what it inherited, and its program file, which
//! is that of the daemon, must not be reached through `/proc`.

use std::convert::Infallible;
use std::os::fd::OwnedFd;

use lamina_types::IoContext;
use nix::sched::CloneFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::process::DumpableBehavior;

use super::Machine;
use super::Step;
use super::finish;
use super::oci;
use crate::wire::Failure;
use crate::wire::Network;
use crate::wire::ROOT;

/// Ends with the step's program running in the container whose process stands where other steps
/// have their root.
pub(super) fn run(mut step: Step, machine: &Machine) -> Result<Infallible, Failure> {
    if let Some(oci) = step.description.oci_runtime.clone() {
        return oci::join(step, &oci);
    }
    let mut namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    if step.description.network != Network::Shared {
        // That of the host may be out of our user namespace's reach, and we are in it.
        namespaces |= CloneFlags::CLONE_NEWNET;
    }
    nix::sched::setns(step.root(), namespaces).at("enter the container")?;
    // Those of the control groups lead to the host's tree; a mere one is left.
    step.descriptors.truncate(step.description.first_cgroup);
    step.descriptors[ROOT] = root()?;
    finish::finish(&step, machine)
}

/// Keeps processes of the container away from this one until it runs its program.
pub(super) fn hide() -> std::io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(
        DumpableBehavior::NotDumpable,
    )?)
}

/// The namespace's root is the container's, and now this process's.
fn root() -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(c"/", flags, Mode::empty()).at("/")?)
}
