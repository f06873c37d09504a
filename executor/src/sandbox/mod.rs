//! What a step's process does between its birth and its program.
//!
//! It runs as the first process of a new pid namespace, alone and with one thread, in this order:
//!
//! 1. forget everything inherited, read the description, enter the control groups;
//! 2. new namespaces; nothing mounted from here on reaches the host;
//! 3. the step's mounts are prepared without a place, then the root is put on the stage (an empty
//!    directory of ours) and everything else on places opened inside the root;
//! 4. the root becomes `/`, the host's tree goes;
//! 5. limits, filter, identity, and the program.
//!
//! A process that joins the sandbox of another ([`join`]) does only what is left of that.
//!
//! Whatever fails is reported on the step's socket, which closes by itself when the program starts.

mod capabilities;
mod cgroupfs;
mod dev;
mod finish;
mod join;
pub(crate) mod limits;
mod lookup;
pub(crate) mod machine;
mod mounts;
mod oci;
mod prepare;
mod proc;
mod terminal;

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;

use lamina_types::IoContext;
use lamina_types::PathError;
use nix::sched::CloneFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::process::Signal;

pub(crate) use machine::Machine;
pub(crate) use mounts::clone_tree;

use crate::channel;
use crate::sys;
use crate::wire;
use crate::wire::Description;
use crate::wire::Failure;
use crate::wire::Network;
use crate::wire::Order;
use crate::wire::ROOT;
use crate::wire::Report;

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        Self::Sandbox(error.to_string())
    }
}

impl Failure {
    /// A failure of `doing` something to or with a place.
    fn during(doing: &str, error: io::Error) -> Self {
        Self::Sandbox(path_error(doing, error))
    }
}

/// Words an error with what it is about.
fn path_error(path: impl Into<String>, source: io::Error) -> String {
    let path = path.into();
    PathError { path, source }.to_string()
}

/// What the daemon sent.
struct Step {
    description: Description,
    blobs: Vec<u8>,
    /// Those of the description, in its order: standard streams, root, mounts, network, control groups.
    descriptors: Vec<OwnedFd>,
    /// Where the terminal is sent to.
    socket: OwnedFd,
    /// Closed by the start of the program or the end of the process, when all is reported, and so not with
    /// the step.
    started: Option<ManuallyDrop<OwnedFd>>,
}

impl Step {
    fn stdin(&self) -> &OwnedFd {
        &self.descriptors[0]
    }
    fn stdout(&self) -> &OwnedFd {
        &self.descriptors[1]
    }
    fn stderr(&self) -> &OwnedFd {
        &self.descriptors[2]
    }
    fn root(&self) -> &OwnedFd {
        &self.descriptors[ROOT]
    }
    fn cgroups(&self) -> &[OwnedFd] {
        &self.descriptors[self.description.first_cgroup..]
    }
}

/// Becomes the step that `socket` describes. Runs in a fresh clone that owns nothing else.
pub(crate) fn enter(socket: OwnedFd, order: Order, machine: &Machine) -> ! {
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| run(&socket, order, machine)));
    let failure = match outcome {
        Ok(Err(failure)) => failure,
        Ok(Ok(never)) => match never {},
        Err(_) => Failure::Sandbox("internal error: panic".to_owned()),
    };
    if let Ok(text) = serde_json::to_vec(&Report::Failed(failure)) {
        // Nobody is left to tell if this fails too.
        drop(channel::send(&socket, &text, &[]));
    }
    sys::exit_now(255)
}

fn run(socket: &OwnedFd, order: Order, machine: &Machine) -> Result<Infallible, Failure> {
    if order == Order::Join {
        join::hide().at("hide from the container")?;
    }
    sys::close_all_from_3_but(socket.as_fd()).at("close inherited descriptors")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at("death signal")?;
    let step = receive(socket).at("receive the description")?;
    rustix::process::umask(Mode::empty());
    // A kernel without keyrings has no keys to protect.
    drop(sys::join_new_session_keyring());
    enter_cgroups(step.cgroups()).at("enter the control group")?;
    if order == Order::Join {
        return join::run(step, machine);
    }
    leave_namespaces(&step)?;
    let prepared = prepare::prepare(&step)?;
    if let Some(oci) = step.description.oci_runtime.clone() {
        return oci::run(step, prepared, &oci);
    }
    mounts::attach(step.root(), &prepared.stage).at("mount the root")?;
    mounts::dress_root(&step, &prepared, machine)?;
    mounts::pivot(step.root()).at("change the root")?;
    finish::finish(&step, machine)
}

fn receive(socket: &OwnedFd) -> io::Result<Step> {
    let mut descriptors = receive_descriptors(socket)?.into_iter();
    let payload = descriptors.next().ok_or(io::ErrorKind::UnexpectedEof)?;
    let (description, blobs) = wire::read_payload(payload)?;
    let mut descriptors: Vec<OwnedFd> = descriptors.collect();
    while descriptors.len() < description.descriptors {
        descriptors.extend(receive_descriptors(socket)?);
    }
    let counted = 4 <= description.first_cgroup && description.first_cgroup <= descriptors.len();
    if !counted {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let started = match description.tells_start {
        true => descriptors.pop().map(ManuallyDrop::new),
        false => None,
    };
    Ok(Step {
        description,
        blobs,
        descriptors,
        socket: socket.try_clone()?,
        started,
    })
}

fn receive_descriptors(socket: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    match channel::receive(socket)? {
        Some((_, descriptors)) if !descriptors.is_empty() => Ok(descriptors),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn enter_cgroups(groups: &[OwnedFd]) -> io::Result<()> {
    for group in groups {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let procs = rustix::fs::openat(group, c"cgroup.procs", flags, Mode::empty())?;
        File::from(procs).write_all(b"0")?;
    }
    Ok(())
}

fn leave_namespaces(step: &Step) -> Result<(), Failure> {
    let description = &step.description;
    if let Network::Given { index } = description.network {
        let missing = || Failure::Sandbox("the network was not sent".to_owned());
        let network = step.descriptors.get(index).ok_or_else(missing)?;
        nix::sched::setns(network, CloneFlags::CLONE_NEWNET).at("enter the network")?;
    }
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    if description.oci_runtime.is_none() {
        // An OCI runtime looks for its groups where the host has them.
        flags |= CloneFlags::CLONE_NEWCGROUP;
    }
    if description.network == Network::Loopback {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    nix::sched::unshare(flags).at("make namespaces")?;
    mounts::make_private().at("make mounts private")?;
    if description.network == Network::Loopback {
        sys::bring_loopback_up().at("bring the loopback interface up")?;
    }
    rustix::system::sethostname(description.hostname.as_bytes()).at("set the host name")?;
    Ok(())
}
