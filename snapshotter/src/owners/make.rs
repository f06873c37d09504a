//! Making files whose truth is in an attribute.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::Stat;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::io::Result;

use super::Owners;
use super::record::Record;

/// The set-group-id bit, which makes a directory pass its group on.
const PASSES_GROUP_ON: u32 = 0o2000;

/// The kernel's limit for the target of a symlink, with the NUL that ends it.
const MAX_TARGET_BYTES: usize = 4096;

/// What something new is to be.
#[derive(Clone, Copy)]
pub(crate) struct New {
    pub(crate) kind: FileKind,
    pub(crate) permissions: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) device: DeviceNumber,
}

impl New {
    /// What `stat` describes.
    pub(crate) fn like(stat: &Stat) -> Self {
        Self {
            device: stat.device,
            ..Self::plain(stat.kind, stat.mode, (stat.uid, stat.gid))
        }
    }

    /// What is no device.
    pub(crate) fn plain(kind: FileKind, permissions: u32, owner: (u32, u32)) -> Self {
        Self {
            kind,
            permissions: permissions & 0o7777,
            owner,
            device: DeviceNumber::default(),
        }
    }
}

impl Owners {
    /// Makes the symlink `name`, or the file that stands for it; `EEXIST` if the name is taken. A real
    /// one is the process's.
    pub(crate) fn make_symlink(
        self,
        dir: &impl AsFd,
        name: &[u8],
        target: &[u8],
        new: &New,
    ) -> Result<()> {
        if self == Self::Real {
            return rustix::fs::symlinkat(target, dir, name);
        }
        match target.len() {
            0 => return Err(Errno::NOENT),
            length if length >= MAX_TARGET_BYTES => return Err(Errno::NAMETOOLONG),
            _ => {}
        }
        let file = make_stand_in(dir, name, new)?;
        let written = File::from(file).write_all(target);
        written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    /// Makes the device, fifo or socket `name`, or the file that stands for it; `EEXIST` if the name is
    /// taken. To a real one the umask applies, and it is the process's.
    pub(crate) fn make_node(self, dir: &impl AsFd, name: &[u8], new: &New) -> Result<()> {
        if self == Self::Stored {
            return make_stand_in(dir, name, new).map(drop);
        }
        let device = rustix::fs::makedev(new.device.major, new.device.minor);
        let kind = FileType::from_raw_mode(new.kind.mode());
        let mode = Mode::from_raw_mode(new.permissions);
        rustix::fs::mknodat(dir, name, kind, mode, device)
    }

    /// Makes the file or directory behind `fd`, which was just made, all that `new` says, if that is
    /// stored.
    pub(crate) fn settle(self, fd: &impl AsFd, new: &New) -> Result<()> {
        match self {
            Self::Real => Ok(()),
            Self::Stored => Record::from(new).write(fd),
        }
    }

    /// Returns the group that the directory `above` passes on to what is made in it.
    pub(crate) fn inherited_group(self, above: &impl AsFd) -> Result<Option<u32>> {
        let above = self.stat_fd(above)?;
        let passes_on = above.permissions() & PASSES_GROUP_ON != 0;
        Ok(passes_on.then_some(above.owner().1))
    }
}

impl From<&New> for Record {
    fn from(new: &New) -> Self {
        Self {
            kind: new.kind,
            permissions: new.permissions,
            uid: new.owner.0,
            gid: new.owner.1,
            device: new.device,
        }
    }
}

fn make_stand_in(dir: &impl AsFd, name: &[u8], new: &New) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
    Record::from(new).write(&fd)?;
    Ok(fd)
}
