//! Changing what a file is.

use std::os::fd::AsFd;

use lamina_types::FileKind;
use rustix::fs::AtFlags;
use rustix::fs::Gid;
use rustix::fs::Uid;
use rustix::io::Errno;
use rustix::io::Result;

use super::Owners;
use super::record::ATTRIBUTE;
use super::record::Record;
use crate::MetadataChange;
use crate::fdio;
use crate::fdio::RawStat;
use crate::metadata;
use crate::xattrs::Target;

/// What gives a program powers; it goes when the program gets another owner.
const CAPABILITY: &[u8] = b"security.capability";

/// The bits of a mode that the disk has too.
const ON_DISK: u32 = 0o777;

impl Owners {
    /// Changes owner, attributes and mode of what is open behind `fd` (which may be `O_PATH`), in this
    /// order: a change of owner clears set-id bits and file capabilities.
    pub(crate) fn change(
        self,
        fd: &impl AsFd,
        kind: FileKind,
        change: &MetadataChange,
    ) -> Result<()> {
        match self {
            Self::Real => change_real(fd, kind, change),
            Self::Stored => change_stored(fd, change),
        }
    }
}

fn change_real(fd: &impl AsFd, kind: FileKind, change: &MetadataChange) -> Result<()> {
    if let Some((uid, gid)) = change.owner {
        // The largest id is no id: to chown(2) it means "leave it".
        let uid = (uid != u32::MAX).then(|| Uid::from_raw(uid));
        let gid = (gid != u32::MAX).then(|| Gid::from_raw(gid));
        rustix::fs::chownat(fd, "", uid, gid, AtFlags::EMPTY_PATH)?;
    }
    if let Some(xattrs) = &change.xattrs {
        Target::opened(fd).replace_image_xattrs(Owners::Real, xattrs)?;
    }
    match change.mode.filter(|_| kind != FileKind::Symlink) {
        Some(mode) => metadata::set_mode(fd, mode),
        None => Ok(()),
    }
}

fn change_stored(fd: &impl AsFd, change: &MetadataChange) -> Result<()> {
    let stored = Owners::Stored;
    let truth = stored.stat_fd(fd)?;
    let mut record = Record::of(&truth);
    let target = Target::opened(fd);
    if let Some((uid, gid)) = change.owner {
        record.give_to(uid, gid);
        if record.kind != FileKind::Directory {
            target.remove(&stored.kept_name(CAPABILITY))?;
        }
    }
    if let Some(xattrs) = &change.xattrs {
        let plain = matches!(record.kind, FileKind::File | FileKind::Directory);
        // As the kernel has it: the attributes of users are for what has data of its own.
        if !plain && xattrs.keys().any(|name| name.starts_with(b"user.")) {
            return Err(Errno::PERM);
        }
        target.replace_image_xattrs(stored, xattrs)?;
    }
    if let Some(mode) = change.mode.filter(|_| record.kind != FileKind::Symlink) {
        record.permissions = mode & 0o7777;
    }
    match record == Record::of(&truth) {
        true => Ok(()),
        false => record.write(fd),
    }
}

impl Record {
    /// Takes over what `truth` says.
    pub(super) fn of(truth: &RawStat) -> Self {
        let (uid, gid) = truth.owner();
        let kind = truth.kind();
        Self {
            kind,
            permissions: truth.permissions(),
            uid,
            gid,
            device: match super::record::is_device(kind) {
                true => truth.rdev(),
                false => lamina_types::DeviceNumber::default(),
            },
        }
    }

    /// Changes the owner as chown(2) does: the largest id leaves it, and what ran with the rights of the
    /// old owner or group does not run with those of the new one.
    fn give_to(&mut self, uid: u32, gid: u32) {
        self.uid = if uid == u32::MAX { self.uid } else { uid };
        self.gid = if gid == u32::MAX { self.gid } else { gid };
        if self.kind != FileKind::Directory {
            self.permissions &= !0o4000;
            // Without the group's right to execute, the bit means something else.
            if self.permissions & 0o010 != 0 {
                self.permissions &= !0o2000;
            }
        }
    }

    /// Makes the file behind `fd`, which is one that can stand for this, say so.
    pub(super) fn write(&self, fd: &impl AsFd) -> Result<()> {
        let disk = fdio::stat_fd(fd)?;
        if !matches!(disk.kind(), FileKind::File | FileKind::Directory) {
            return Err(Errno::PERM);
        }
        let target = Target::opened(fd);
        let permissions = self.permissions_on_disk();
        let silent = self.kind == disk.kind()
            && (self.uid, self.gid) == (0, 0)
            && self.permissions == permissions;
        match silent {
            true => target.remove(ATTRIBUTE)?,
            false => target.set(ATTRIBUTE, &self.encode())?,
        }
        match disk.permissions() == permissions {
            true => Ok(()),
            false => metadata::set_mode(fd, permissions),
        }
    }

    /// Returns permissions that let the user work with the file, and give nobody its rights.
    fn permissions_on_disk(&self) -> u32 {
        let least = match self.kind {
            FileKind::Directory => 0o700,
            _ => 0o600,
        };
        match self.kind {
            FileKind::File | FileKind::Directory => self.permissions & ON_DISK | least,
            _ => least,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_given_away_loses_its_rights() {
        for (kind, before, after) in [
            (FileKind::File, 0o6755, 0o755),
            (FileKind::File, 0o2644, 0o2644),
            (FileKind::File, 0o1644, 0o1644),
            (FileKind::Directory, 0o6755, 0o6755),
        ] {
            let device = lamina_types::DeviceNumber::default();
            let mut record = Record {
                kind,
                permissions: before,
                uid: 1,
                gid: 2,
                device,
            };
            record.give_to(u32::MAX, 7);
            assert_eq!((record.uid, record.gid), (1, 7));
            assert_eq!(record.permissions, after, "{kind:?} {before:o}");
        }
    }
}
