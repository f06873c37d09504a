//! From a [`ProcessSpec`] to descriptors and a description: all the work of a step that touches
//! files, done by the daemon on its worker pool, and the cleaning up afterwards.

mod environment;
mod host;
mod join;
mod root;
mod sources;

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use lamina_network::Networks;
use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Backing;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Mounter;
use lamina_snapshotter::SnapshotStore;
use lamina_types::RootedPath;

use crate::DnsConfig;
use crate::ExecError;
use crate::ExitStatus;
use crate::Finished;
use crate::NetworkMode;
use crate::ProcessSpec;
use crate::Root;
use crate::RuntimeKind;
use crate::SecurityMode;
use crate::StepMount;
use crate::cgroup::Cgroups;
use crate::cgroup::Request;
use crate::cgroup::StepCgroup;
use crate::error::Doing;
use crate::files;
use crate::files::Resolver;
use crate::layout;
use crate::sockets::Listening;
use crate::sockets::SocketDir;
use crate::stubs::Stubs;
use crate::user;
use crate::wire;
use crate::wire::Blobs;
use crate::wire::Description;
use crate::wire::Devices;
use crate::wire::Identity;
use crate::wire::OciRuntime;
pub(crate) use join::Inside;
pub(crate) use join::join;
use sources::Sources;

/// What all steps of an executor share.
pub(crate) struct Engine {
    pub(crate) mounter: Arc<dyn Mounter>,
    pub(crate) store: SnapshotStore,
    pub(crate) cgroups: Cgroups,
    /// An empty directory of ours.
    pub(crate) stage: PathBuf,
    pub(crate) runtime: RuntimeKind,
    pub(crate) dns: DnsConfig,
    /// The parent of the control groups of steps that name none.
    pub(crate) cgroup_parent: String,
    pub(crate) networks: Networks,
    pub(crate) sockets: SocketDir,
}

/// The ends of its streams that a step gets.
pub(crate) struct Ends {
    /// Standard input, output and error; not used if it makes a terminal.
    pub(crate) standard: [OwnedFd; 3],
    /// Closed by the start of the program.
    pub(crate) started: Option<OwnedFd>,
    /// Whether it makes a terminal.
    pub(crate) terminal: bool,
}

impl Ends {
    /// Streams and nothing else.
    pub(crate) fn plain(standard: [OwnedFd; 3]) -> Self {
        Self {
            standard,
            started: None,
            terminal: false,
        }
    }
}

/// A step that is ready to be started.
pub(crate) struct Planned {
    /// Everything to send, the payload first.
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) leftovers: Leftovers,
    /// To be served while the step lives.
    pub(crate) sockets: Vec<Listening>,
    /// What the user should know.
    pub(crate) warnings: Vec<String>,
}

/// What is left of a step when its processes are gone.
pub(crate) struct Leftovers {
    root: ActiveLayer,
    /// Whether the root's layer was only made to hold mount points.
    root_is_scratch: bool,
    mounts: Vec<Option<ActiveLayer>>,
    /// What the mounts show; held as long as they may be used.
    shown: Vec<Shown>,
    stubs: Stubs,
    cgroup: StepCgroup,
}

/// A view, and what its mount needs.
pub(crate) struct Shown {
    _stack: LayerStack,
    _backing: Backing,
}

impl Leftovers {
    /// Returns what further processes of the sandbox need.
    pub(crate) fn inside(&self, shares_network: bool) -> Result<Inside, ExecError> {
        let groups = self.cgroup.directories();
        let cgroups = groups.map(|dir| dir.try_clone_to_owned().doing(KEEP_OPEN));
        Ok(Inside {
            tree: self.root.tree(),
            cgroups: cgroups.collect::<Result<_, _>>()?,
            shares_network,
        })
    }

    /// Takes over what was written, removes the stubs and control groups, and says how the step ended.
    pub(crate) fn clean(self, status: ExitStatus) -> Result<Finished, ExecError> {
        let starved = status != ExitStatus::Code(0) && self.cgroup.ran_out_of_memory();
        drop(self.cgroup);
        drop(self.shown);
        if !self.root_is_scratch {
            self.root.end_mount()?;
        }
        for layer in self.mounts.iter().flatten() {
            layer.end_mount()?;
        }
        self.stubs.remove()?;
        Ok(Finished {
            status: if starved {
                ExitStatus::OutOfMemory
            } else {
                status
            },
            root: (!self.root_is_scratch).then_some(self.root),
            mounts: self.mounts,
        })
    }
}

/// Prepares a step with these streams, which is to enter the `network` namespace if there is one.
///
/// # Errors
/// Nothing of the step is left then but layers, which go with their last owner.
pub(crate) fn plan(
    engine: &Engine,
    mut spec: ProcessSpec,
    ends: Ends,
    network: Option<OwnedFd>,
) -> Result<Planned, ExecError> {
    environment::check(&spec.args, &spec.env, &spec.cwd, &spec.ulimits)?;
    let mounts = std::mem::take(&mut spec.mounts);
    let (layer, root_is_scratch) = root_layer(engine, &mut spec)?;
    let who = identity(&layer, &mut spec)?;
    let cgroup = make_cgroup(engine, &spec)?;
    let devices = devices(spec.security == SecurityMode::Sandbox, &cgroup);
    let mut sources = Sources::new(engine, mounts.len(), devices == Devices::NoDev);
    add_mounts(&mut sources, &spec, mounts, network.is_some())?;
    let stubs = root::make_places(&layer, &spec, &who, &sources)?;
    let root = engine.mounter.mount_active(&layer)?.fd;
    let mut description = describe(
        engine,
        &spec,
        &layer,
        who,
        root_is_scratch,
        devices,
        &sources,
    );
    description.oci_runtime = oci_runtime(engine, cgroup.inner_path("oci"));
    description.pid_max = cgroup.unlimited_processes;
    description.terminal = ends.terminal;
    description.tells_start = ends.started.is_some();
    let given = (ends.standard, root, network);
    let mut descriptors = gather(given, &mut sources, &cgroup, &mut description)?;
    descriptors.extend(ends.started);
    Ok(Planned {
        warnings: warnings(&cgroup, &spec),
        descriptors: with_payload(description, descriptors, &sources.blobs)?,
        leftovers: Leftovers {
            root: layer,
            root_is_scratch,
            mounts: sources.kept,
            shown: sources.shown,
            stubs,
            cgroup,
        },
        sockets: sources.sockets,
    })
}

/// Says who the process is, and completes its variables.
fn identity(layer: &ActiveLayer, spec: &mut ProcessSpec) -> Result<Identity, ExecError> {
    let mut who = user::look_up(&layer.tree(), &spec.user)?;
    host::apply(&spec.devices, &mut spec.env, &mut who);
    Ok(who)
}

fn add_mounts(
    sources: &mut Sources<'_>,
    spec: &ProcessSpec,
    mounts: Vec<StepMount>,
    has_namespace: bool,
) -> Result<(), ExecError> {
    let engine = sources.engine;
    let placed = layout::place(&spec.cwd, &mounts)?;
    let hosts = files::hosts(hostname(spec), &spec.extra_hosts);
    let resolver = resolver(engine, spec.network, has_namespace);
    let resolv_conf = files::resolv_conf(&engine.dns, resolver);
    sources.add_files(&hosts, &resolv_conf, &placed);
    layout::in_order(mounts, placed).try_for_each(|(mount, place)| sources.add(mount, place))?;
    sources.add_devices(&spec.devices)?;
    match &spec.emulator {
        Some(program) => sources.add_emulator(program),
        None => Ok(()),
    }
}

/// Names what the step goes without and runs all the same.
fn warnings(cgroup: &StepCgroup, spec: &ProcessSpec) -> Vec<String> {
    let left_out = spec.devices.left_out.iter();
    let mut all: Vec<String> = left_out
        .map(|what| format!("{what}, which belongs to a device, is left out"))
        .collect();
    if !cgroup.unmet.is_empty() {
        all.push(format!(
            "the limits of this step on {} have no effect: there is no control group with this \
             controller for it (\"lamina doctor\" says more)",
            cgroup.unmet.join(", ")
        ));
    }
    all
}

/// Says how a step reaches name servers.
fn resolver(engine: &Engine, mode: NetworkMode, has_namespace: bool) -> Resolver {
    match (mode, has_namespace) {
        (NetworkMode::None, _) => Resolver::Remote { forwarder: None },
        (_, true) => Resolver::Remote {
            forwarder: engine.networks.name_server(),
        },
        (_, false) => Resolver::Local,
    }
}

fn root_layer(engine: &Engine, spec: &mut ProcessSpec) -> Result<(ActiveLayer, bool), ExecError> {
    // What is put in its place is never looked at.
    match std::mem::replace(&mut spec.root, Root::ReadOnly(LayerStack::empty())) {
        Root::Active(layer) => Ok((layer, false)),
        Root::ReadOnly(stack) => Ok((engine.store.prepare(&stack)?, true)),
    }
}

fn make_cgroup(engine: &Engine, spec: &ProcessSpec) -> Result<StepCgroup, ExecError> {
    let mut number = [0; 8];
    rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())
        .doing("make a name for a control group")?;
    let random: String = number.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = format!("{}-{random}", std::process::id());
    let parent = match spec.cgroup_parent.as_str() {
        "" => engine.cgroup_parent.as_str(),
        parent => parent,
    };
    engine.cgroups.make(&Request {
        parent,
        id: &id,
        confined: spec.security == SecurityMode::Sandbox,
        everywhere: engine.runtime != RuntimeKind::Builtin,
        resources: &spec.resources,
        devices: &host::rules(&spec.devices.nodes)?,
    })
}

fn oci_runtime(engine: &Engine, cgroup: String) -> Option<OciRuntime> {
    match &engine.runtime {
        RuntimeKind::Builtin => None,
        RuntimeKind::Oci(program) => Some(OciRuntime {
            program: program.to_string_lossy().into_owned(),
            cgroup,
        }),
    }
}

fn devices(confined: bool, cgroup: &StepCgroup) -> Devices {
    match (confined, cgroup.restricts_devices) {
        (false, _) => Devices::All,
        (true, true) => Devices::Cgroup,
        (true, false) => Devices::NoDev,
    }
}

fn hostname(spec: &ProcessSpec) -> &str {
    if spec.hostname.is_empty() {
        files::DEFAULT_HOSTNAME
    } else {
        &spec.hostname
    }
}

fn describe(
    engine: &Engine,
    spec: &ProcessSpec,
    layer: &ActiveLayer,
    user: Identity,
    root_readonly: bool,
    devices: Devices,
    sources: &Sources<'_>,
) -> Description {
    Description {
        args: spec.args.clone(),
        env: environment::complete(&spec.env, || user::home(&layer.tree(), user.uid)),
        cwd: RootedPath::new(&spec.cwd).to_string(),
        user,
        hostname: hostname(spec).to_owned(),
        network: spec.network.into(),
        confined: spec.security == SecurityMode::Sandbox,
        limits: environment::limits(&spec.ulimits),
        pid_max: None,
        root_readonly,
        stage: engine.stage.to_string_lossy().into_owned(),
        mounts: sources.mounts.clone(),
        devices,
        descriptors: 0,
        first_cgroup: 0,
        oci_runtime: None,
        terminal: false,
        tells_start: false,
    }
}

const KEEP_OPEN: &str = "keep a control group open";

/// Returns everything of the step in the order of [`Description::descriptors`], and notes there what
/// is where.
fn gather(
    (streams, root, network): ([OwnedFd; 3], OwnedFd, Option<OwnedFd>),
    sources: &mut Sources<'_>,
    cgroup: &StepCgroup,
    description: &mut Description,
) -> Result<Vec<OwnedFd>, ExecError> {
    let mut all: Vec<OwnedFd> = streams.into_iter().chain([root]).collect();
    all.append(&mut sources.sent);
    if let Some(network) = network {
        description.network = wire::Network::Given { index: all.len() };
        all.push(network);
    }
    description.first_cgroup = all.len();
    for dir in cgroup.directories() {
        all.push(dir.try_clone_to_owned().doing(KEEP_OPEN)?);
    }
    Ok(all)
}

fn with_payload(
    mut description: Description,
    mut descriptors: Vec<OwnedFd>,
    blobs: &Blobs,
) -> Result<Vec<OwnedFd>, ExecError> {
    description.descriptors = descriptors.len();
    let payload = wire::write_payload(&description, blobs).doing("write the step's description")?;
    descriptors.insert(0, payload);
    Ok(descriptors)
}

impl Planned {
    /// Sends everything to the step.
    pub(crate) fn send(&self, socket: impl AsFd) -> Result<(), ExecError> {
        send(socket, &self.descriptors)
    }
}

/// Sends descriptors to a step, the payload first.
pub(crate) fn send(socket: impl AsFd, descriptors: &[OwnedFd]) -> Result<(), ExecError> {
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    crate::channel::send_descriptors(socket, &borrowed).doing("send the step's description")
}
