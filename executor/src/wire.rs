//! What daemon, runtime and step tell each other.
//!
//! ```text
//! control socket   daemon -> runtime   "step": one descriptor, the runtime's end of a step socket
//!                                      "container": the same, for a step that others may join
//!                                      "join": the same, then the process whose container is joined
//!                  runtime -> daemon   why it cannot go on, as text, before it ends
//! step socket      daemon -> step      one byte a message, with descriptors; the first of them is
//!                                      the payload, then as many as the description says
//!                  step -> daemon      Report::Failed, if the program could not be started
//!                  step -> daemon      Report::Terminal with its terminal, before the program starts
//!                  step -> daemon      Report::Process with the program's process, if it is another
//!                  runtime -> daemon   Report::Born with the process, unless it is a mere step
//!                  runtime -> daemon   Report::Exited or Report::Signaled, always the last
//! payload (memfd)  u64 little endian: length of the description, the description as JSON, blobs
//! ```
//!
//! All of it stays between two processes of one program on one machine, so there is no versioning.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::MemfdFlags;
use serde::Deserialize;
use serde::Serialize;

use crate::NetworkMode;
use crate::SecurityMode;

/// Everything about a step that is not a descriptor.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Description {
    /// Program and arguments.
    pub(crate) args: Vec<String>,
    /// The complete environment.
    pub(crate) env: Vec<String>,
    /// Working directory, resolved inside the root at the start.
    pub(crate) cwd: String,
    /// Who the process is.
    pub(crate) user: Identity,
    /// Host name.
    pub(crate) hostname: String,
    /// Which network namespace it is in.
    pub(crate) network: Network,
    /// Whether it is confined.
    pub(crate) confined: bool,
    /// Resource limits.
    pub(crate) limits: Vec<Limit>,
    /// The numbers that its processes may have, unless control groups count them.
    pub(crate) pid_max: Option<u32>,
    /// Whether the root is mounted read-only.
    pub(crate) root_readonly: bool,
    /// An empty host directory on which mounts are put for a moment.
    pub(crate) stage: String,
    /// Mounts in the order in which they are made.
    pub(crate) mounts: Vec<Mount>,
    /// How devices are kept from the step.
    pub(crate) devices: Devices,
    /// Descriptors after the payload: standard streams, root, those of the mounts, the network if it
    /// is given, control groups, and one that closes when the program starts, if `tells_start`. Where
    /// a step has its root, a process that joins has the one whose container it joins.
    pub(crate) descriptors: usize,
    /// Where the control groups begin among them.
    pub(crate) first_cgroup: usize,
    /// The OCI runtime that makes the sandbox instead of us.
    pub(crate) oci_runtime: Option<OciRuntime>,
    /// Whether its standard streams are a terminal, which it makes.
    pub(crate) terminal: bool,
    /// Whether the last descriptor is to be closed by the start of the program.
    pub(crate) tells_start: bool,
}

/// What the control socket carries to the runtime, one word each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// A process with a sandbox of its own.
    Step,
    /// The same, and its process is told to the daemon.
    Container,
    /// A process in the sandbox of another.
    Join,
}

impl Order {
    /// The word.
    pub(crate) fn word(self) -> &'static [u8] {
        match self {
            Self::Step => b"step",
            Self::Container => b"container",
            Self::Join => b"join",
        }
    }

    /// Reads the word.
    pub(crate) fn parse(word: &[u8]) -> Option<Self> {
        let all = [Self::Step, Self::Container, Self::Join];
        all.into_iter().find(|order| order.word() == word)
    }
}

/// A program that makes the sandbox.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct OciRuntime {
    /// Name or path.
    pub(crate) program: String,
    /// The control group that it is to make, empty for none.
    pub(crate) cgroup: String,
}

/// Ids of a process.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, the primary one included.
    pub(crate) groups: Vec<u32>,
}

/// Where the root is among the descriptors of [`Description::descriptors`].
pub(crate) const ROOT: usize = 3;

/// What a step does about its network namespace.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// It stays in the host's.
    Shared,
    /// It makes a new one.
    Loopback,
    /// It enters one that was sent along.
    Given { index: usize },
}

/// How a step is kept from devices of the host for which it can make nodes (`mknod`).
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Devices {
    /// All may be used: unconfined steps.
    All,
    /// Control groups allow the harmless ones and refuse the others.
    Cgroup,
    /// Nodes work only where we bound them.
    NoDev,
}

/// One resource limit; `None` is unlimited.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) name: String,
    pub(crate) soft: Option<u64>,
    pub(crate) hard: Option<u64>,
}

/// One mount besides the system's.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Absolute and cleaned, in the image.
    pub(crate) dest: String,
    pub(crate) source: Source,
    pub(crate) readonly: bool,
    pub(crate) nosuid: bool,
    pub(crate) nodev: bool,
    pub(crate) noexec: bool,
}

/// Where the content of a mount comes from.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A detached mount sent along, and what of it.
    Descriptor { index: usize, selector: String },
    /// An empty tmpfs.
    Tmpfs { size_bytes: Option<u64> },
    /// A file made from a blob of the payload.
    File {
        start: u64,
        length: u64,
        uid: u32,
        gid: u32,
        mode: u32,
    },
}

/// What a step socket carries to the daemon.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The process is there; its pidfd comes along.
    Born,
    /// The program's own process comes along, where the one that was told before stands for it.
    Process,
    /// The terminal of the process comes along, the side that is not the program's.
    Terminal,
    /// The program did not start. An exit follows and means nothing.
    Failed(Failure),
    /// The process called `exit`.
    Exited(i32),
    /// A signal ended the process.
    Signaled(i32),
}

/// Why a program did not start.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A selector names nothing.
    Selector(String),
    /// The program is not there or not executable.
    Start(String),
    /// An owner is not mapped.
    NeedsMoreIds(String),
    /// Anything else.
    Sandbox(String),
}

impl From<NetworkMode> for Network {
    fn from(mode: NetworkMode) -> Self {
        match mode {
            NetworkMode::Sandbox | NetworkMode::Host => Self::Shared,
            NetworkMode::None => Self::Loopback,
        }
    }
}

impl From<SecurityMode> for bool {
    fn from(mode: SecurityMode) -> Self {
        mode == SecurityMode::Sandbox
    }
}

/// Collects the blobs of a payload.
#[derive(Default)]
pub(crate) struct Blobs(Vec<u8>);

impl Blobs {
    /// Adds a file's content and returns the source that names it.
    pub(crate) fn add(&mut self, data: &[u8], owner: (u32, u32), mode: u32) -> Source {
        let start = self.0.len() as u64;
        self.0.extend_from_slice(data);
        Source::File {
            start,
            length: data.len() as u64,
            uid: owner.0,
            gid: owner.1,
            mode,
        }
    }
}

/// Writes description and blobs into an anonymous file in memory.
pub(crate) fn write_payload(description: &Description, blobs: &Blobs) -> io::Result<OwnedFd> {
    let text = serde_json::to_vec(description)?;
    let fd = rustix::fs::memfd_create(c"lamina-step", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(&(text.len() as u64).to_le_bytes())?;
    file.write_all(&text)?;
    file.write_all(&blobs.0)?;
    Ok(file.into())
}

/// Reads what [`write_payload`] wrote.
pub(crate) fn read_payload(payload: OwnedFd) -> io::Result<(Description, Vec<u8>)> {
    let mut file = File::from(payload);
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (length, rest) = bytes
        .split_first_chunk()
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(io::Error::other)?;
    let (text, blobs) = rest
        .split_at_checked(length)
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((serde_json::from_slice(text)?, blobs.to_vec()))
}
