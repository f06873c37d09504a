//! What files truly are.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd;

use lamina_types::FileKind;
use rustix::io::Errno;
use rustix::io::Result;

use super::Owners;
use super::record::ATTRIBUTE;
use super::record::Record;
use crate::fdio;
use crate::fdio::RawStat;
use crate::xattrs::Target;

/// The kernel's limit for the target of a symlink.
const MAX_TARGET_BYTES: u64 = 4096;

impl Owners {
    /// Describes `name` in `dir` as the image does; `None` if there is no such name.
    pub(crate) fn stat_at(self, dir: &impl AsFd, name: &[u8]) -> Result<Option<RawStat>> {
        let disk = fdio::stat_at(dir, name)?;
        let truth = |disk| self.truth_of_name(dir, name, disk);
        disk.map(truth).transpose()
    }

    /// Describes what is open behind `fd` as the image does.
    pub(crate) fn stat_fd(self, fd: &impl AsFd) -> Result<RawStat> {
        let disk = fdio::stat_fd(fd)?;
        match self {
            Self::Real => Ok(disk),
            Self::Stored => truth(&Target::opened(fd), disk),
        }
    }

    /// Turns what the disk says of `name` in `dir` into what the image says.
    pub(crate) fn truth_of_name(
        self,
        dir: &impl AsFd,
        name: &[u8],
        disk: RawStat,
    ) -> Result<RawStat> {
        match self {
            Self::Real => Ok(disk),
            Self::Stored => truth(&Target::name(dir, name), disk),
        }
    }

    /// Returns the target of the symlink `name`.
    pub(crate) fn read_link(self, dir: &impl AsFd, name: &[u8]) -> Result<Vec<u8>> {
        match (self, fdio::read_link(dir, name)) {
            (Self::Stored, Err(Errno::INVAL)) => read_stand_in(dir, name),
            (_, target) => target,
        }
    }
}

/// Reads the record of a file; `EIO` if it is damaged or belongs to something else.
fn truth(target: &Target, disk: RawStat) -> Result<RawStat> {
    let on_disk = disk.kind();
    // Nothing else can have the attribute.
    if !matches!(on_disk, FileKind::File | FileKind::Directory) {
        return Ok(disk.owned_by(0, 0));
    }
    let Some(text) = target.get(ATTRIBUTE)? else {
        return Ok(disk.owned_by(0, 0));
    };
    let record = Record::decode(&text).ok_or(Errno::IO)?;
    let fits = (record.kind == FileKind::Directory) == (on_disk == FileKind::Directory);
    if !fits {
        return Err(Errno::IO);
    }
    let mode = record.kind.mode() | record.permissions;
    let owner = (record.uid, record.gid);
    Ok(disk.described_as(mode, owner, record.device))
}

fn read_stand_in(dir: &impl AsFd, name: &[u8]) -> Result<Vec<u8>> {
    let file = File::from(fdio::open_data(dir, name)?);
    let mut target = Vec::new();
    match file.take(MAX_TARGET_BYTES).read_to_end(&mut target) {
        Ok(_) => Ok(target),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
}
