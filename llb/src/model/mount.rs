//! Mounts of a process (rows EXC-13 to EXC-27).

use lamina_proto::pb;

use super::Operand;
use super::SpecError;
use super::input_operand;

/// One mount of a step.
#[derive(Debug)]
pub(crate) struct Mount {
    /// Absolute, or relative to the working directory; `/` is the root.
    pub(crate) dest: String,
    pub(crate) input: Operand,
    /// Which part of the input is mounted; empty = all of it.
    pub(crate) selector: String,
    pub(crate) readonly: bool,
    /// What is left there is an output of the step.
    pub(crate) output: bool,
    pub(crate) kind: MountType,
}

/// What is mounted.
#[derive(Debug)]
pub(crate) enum MountType {
    /// The input, or an empty directory.
    Bind,
    /// A directory that outlives the build (row EXC-20).
    Cache { id: String, sharing: CacheSharing },
    /// Memory; the size is a limit in bytes.
    Tmpfs { size_bytes: Option<u64> },
    /// A file with a secret of the client (row EXC-26).
    Secret(SecretFile),
    /// A socket that leads to an agent or socket of the client (row EXC-27).
    Ssh(ForwardedSocket),
}

/// What concurrent users of a cache directory get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CacheSharing {
    /// The same directory (row EXC-21).
    Shared,
    /// Another directory (row EXC-22).
    Private,
    /// Nothing until the first is done (row EXC-23).
    Locked,
}

/// A secret as a file.
#[derive(Debug, Clone)]
pub(crate) struct SecretFile {
    pub(crate) id: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    /// Missing = no mount, else an error.
    pub(crate) optional: bool,
}

/// A socket of the client in the step.
#[derive(Debug, Clone)]
pub(crate) struct ForwardedSocket {
    pub(crate) id: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    /// Not forwarded = no mount, else an error.
    pub(crate) optional: bool,
}

/// The id of the agent that clients mean when they name none.
const DEFAULT_AGENT: &str = "default";

pub(super) const ROOT: &str = "/";

impl Mount {
    pub(super) fn parse(mount: pb::Mount, inputs: usize) -> Result<Self, SpecError> {
        let input = input_operand(mount.input, inputs)?;
        let kind = MountType::parse(&mount)?;
        if mount.dest == ROOT && !matches!(kind, MountType::Bind) {
            return Err(SpecError::BadRootMount { kind: kind.name() });
        }
        if mount.dest == ROOT && input == Operand::Scratch && mount.output < 0 {
            return Err(SpecError::NoMountInput { dest: mount.dest });
        }
        // A cache directory is never an output, its input is (row EXC-20).
        let output = mount.output >= 0
            && match kind {
                MountType::Bind => true,
                MountType::Cache { .. } => input != Operand::Scratch,
                MountType::Tmpfs { .. } | MountType::Secret(_) | MountType::Ssh(_) => false,
            };
        Ok(Self {
            dest: mount.dest,
            input,
            selector: mount.selector,
            readonly: mount.readonly,
            output,
            kind,
        })
    }

    pub(crate) fn is_root(&self) -> bool {
        self.dest == ROOT
    }
}

impl MountType {
    fn parse(mount: &pb::Mount) -> Result<Self, SpecError> {
        let unknown = |_| SpecError::UnknownValue {
            what: "mount type",
            value: mount.mount_type,
        };
        Ok(
            match pb::MountType::try_from(mount.mount_type).map_err(unknown)? {
                pb::MountType::Bind => Self::Bind,
                pb::MountType::Cache => Self::parse_cache(mount.cache_opt.as_ref())?,
                pb::MountType::Tmpfs => Self::Tmpfs {
                    size_bytes: tmpfs_size(mount),
                },
                pb::MountType::Secret => Self::Secret(SecretFile::parse(mount)?),
                pb::MountType::Ssh => Self::Ssh(ForwardedSocket::parse(mount)?),
            },
        )
    }

    fn parse_cache(options: Option<&pb::CacheOpt>) -> Result<Self, SpecError> {
        let options = options.ok_or(SpecError::missing("exec", "cache mount options"))?;
        let unknown = |_| SpecError::UnknownValue {
            what: "cache sharing option",
            value: options.sharing,
        };
        let sharing = match pb::CacheSharingOpt::try_from(options.sharing).map_err(unknown)? {
            pb::CacheSharingOpt::Shared => CacheSharing::Shared,
            pb::CacheSharingOpt::Private => CacheSharing::Private,
            pb::CacheSharingOpt::Locked => CacheSharing::Locked,
        };
        Ok(Self::Cache {
            id: options.id.clone(),
            sharing,
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Bind => "BIND",
            Self::Cache { .. } => "CACHE",
            Self::Tmpfs { .. } => "TMPFS",
            Self::Secret(_) => "SECRET",
            Self::Ssh(_) => "SSH",
        }
    }
}

fn tmpfs_size(mount: &pb::Mount) -> Option<u64> {
    let options = mount.tmpfs_opt.as_ref()?;
    u64::try_from(options.size).ok().filter(|&size| size > 0)
}

impl ForwardedSocket {
    fn parse(mount: &pb::Mount) -> Result<Self, SpecError> {
        let options = mount.ssh_opt.as_ref();
        let options = options.ok_or(SpecError::missing("exec", "ssh mount options"))?;
        let id = match options.id.as_str() {
            "" => DEFAULT_AGENT,
            id => id,
        };
        Ok(Self {
            id: id.to_owned(),
            uid: options.uid,
            gid: options.gid,
            mode: options.mode & 0o777,
            optional: options.optional,
        })
    }
}

impl SecretFile {
    fn parse(mount: &pb::Mount) -> Result<Self, SpecError> {
        let missing = SpecError::missing("exec", "secret mount options");
        let options = mount.secret_opt.as_ref().ok_or(missing)?;
        if options.id.is_empty() {
            return Err(SpecError::NoSecretId {
                what: format!("mount {}", mount.dest),
            });
        }
        Ok(Self {
            id: options.id.clone(),
            uid: options.uid,
            gid: options.gid,
            mode: options.mode & 0o777,
            optional: options.optional,
        })
    }
}
