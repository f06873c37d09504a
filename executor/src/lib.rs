//! Running the processes of a build in a sandbox.
//!
//! A step is one process tree with its own mount, pid, ipc, uts and cgroup namespaces, a root file
//! system made from layers, and the mounts, identity, limits and filters of its [`ProcessSpec`].
//! What a step sees is what it would see under BuildKit with runc.
//!
//! ```text
//! daemon (many threads)              runtime (one thread)             step (pid 1 of its namespace)
//! Executor::run
//!   plan: user, stubs, mounts  ───►  clones a child            ───►   sandbox: mounts, identity,
//!   pipes: standard streams          waits for all children           filters, then execve
//!   outcome: status, stubs     ◄───  reports exits             ◄───   (or why it could not)
//! ```
//!
//! A process with many threads cannot fork and then run Rust code, so [`Executor::start`] starts
//! this same program a second time as the *runtime*, whose `main` calls [`runtime_main`] first. The
//! runtime is the first process of a pid namespace that holds all steps, and ends when its socket
//! to the daemon closes: however the daemon dies, the kernel then kills every step. Steps can see
//! which program they come of, so it is started from where none of them can change it.
//!
//! A process that somebody talks to, with pipes or a terminal, is started by [`Executor::launch`];
//! further ones join its sandbox by [`Executor::join`]. The runtime makes those in the pid
//! namespace of the first, and they enter the rest by themselves.
//!
//! Mounts travel as descriptors ([`lamina_snapshotter::DetachedMount`]). They are attached in the
//! step's own mount namespace at places that were opened inside the step's root, so no path of an
//! image is ever walked on the host, and nothing is left mounted when the step has ended.
//!
//! [`userns`] is for the start of the program: it gives an ordinary user the namespaces that all
//! this needs.
#![deny(unsafe_code)]

mod cdi;
mod cgroup;
mod channel;
mod containers;
mod detached;
mod error;
mod executor;
mod files;
mod host;
mod in_root;
mod layout;
mod oci_version;
mod output;
mod plan;
mod resources;
mod runtime;
mod sandbox;
mod seccomp;
mod sockets;
mod spec;
mod streams;
mod stubs;
#[expect(unsafe_code, reason = "system calls that no safe wrapper offers")]
mod sys;
mod user;
pub mod userns;
mod wire;

pub use cdi::Catalogue;
pub use cdi::CdiDevice;
pub use cdi::CdiDevices;
pub use cdi::CdiError;
pub use cdi::CdiRequest;
pub use cgroup::ControlGroups;
pub use cgroup::ProcessLimit;
pub use cgroup::can_restrict_devices;
pub use containers::Launched;
pub use containers::ProcessControl;
pub use containers::ProcessInput;
pub use containers::ProcessOutput;
pub use containers::ProcessStreams;
pub use containers::Sandbox;
pub use containers::signal_number;
pub use error::ExecError;
pub use executor::DnsConfig;
pub use executor::Executor;
pub use executor::ExecutorOptions;
pub use executor::Process;
pub use executor::RuntimeKind;
pub use host::DeviceNode;
pub use host::HostDevices;
pub use host::HostMount;
pub use resources::Resources;
pub use runtime::runtime_main;
pub use sockets::OnConnect;
pub use spec::ExitStatus;
pub use spec::Finished;
pub use spec::JoinSpec;
pub use spec::MountKind;
pub use spec::NetworkMode;
pub use spec::ProcessSpec;
pub use spec::Root;
pub use spec::SecurityMode;
pub use spec::StepMount;
pub use spec::Ulimit;
