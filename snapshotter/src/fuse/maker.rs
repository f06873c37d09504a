//! Giving what is made to the caller, with the mode that it asked for.

use std::os::fd::OwnedFd;

use lamina_types::FileKind;
use rustix::fs::AtFlags;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::Uid;
use rustix::io::Result;

use super::names::NewEntry;
use super::node::Node;
use super::overlay::Overlay;
use super::overlay::Writable;
use crate::Owners;
use crate::fdio;
use crate::fdio::RawStat;
use crate::metadata;
use crate::owners::New;

/// A directory that passes its group on; directories in it do so too.
const PASSES_GROUP_ON: u32 = 0o2000;

/// What is needed to make one entry.
pub(super) struct Maker<'a> {
    /// The permissions count unless the directory passes an ACL on.
    pub(super) wanted: New,
    owners: Owners,
    passes_acl_on: bool,
    above: &'a OwnedFd,
    writable: &'a Writable,
}

impl Overlay {
    /// Prepares for making an entry in `parent`, of which `above` is the upper's part.
    pub(super) fn maker<'a>(
        &self,
        parent: &Node,
        above: &'a OwnedFd,
        kind: FileKind,
        new: NewEntry,
        writable: &'a Writable,
    ) -> Result<Maker<'a>> {
        let owners = self.format.owners;
        let passes_acl_on = self.passes_acl_on(parent, above)?;
        let mode = match passes_acl_on {
            true => new.mode,
            false => new.masked_mode(),
        };
        let mut wanted = New::plain(kind, mode, (new.caller.uid, new.caller.gid));
        if owners == Owners::Stored
            && let Some(group) = owners.inherited_group(above)?
        {
            wanted.owner.1 = group;
            if kind == FileKind::Directory {
                wanted.permissions |= PASSES_GROUP_ON;
            }
        }
        Ok(Maker {
            wanted,
            owners,
            passes_acl_on,
            above,
            writable,
        })
    }
}

impl Maker<'_> {
    /// Returns the mode with which a file or directory is made on the host.
    pub(super) fn host_mode(&self) -> Mode {
        match self.owners {
            Owners::Real => Mode::from_raw_mode(self.wanted.permissions),
            Owners::Stored if self.wanted.kind == FileKind::Directory => Mode::RWXU,
            // In most cases that is what it stays.
            Owners::Stored => Mode::from_raw_mode(self.wanted.permissions & 0o777 | 0o600),
        }
    }

    /// Makes what is behind `fd` all that is wanted, and describes it.
    pub(super) fn finish(&self, fd: &OwnedFd) -> Result<RawStat> {
        match (self.owners, self.wanted.kind) {
            (Owners::Real, _) => self.finish_real(fd)?,
            (Owners::Stored, FileKind::File | FileKind::Directory) => {
                self.owners.settle(fd, &self.wanted)?;
            }
            // What stands for something else has said so from the start.
            (Owners::Stored, _) => {}
        }
        self.owners.stat_fd(fd)
    }

    fn finish_real(&self, fd: &OwnedFd) -> Result<()> {
        let mode = match self.passes_acl_on {
            // What the host made of it by the ACL.
            true => fdio::stat_fd(fd)?.permissions(),
            false => self.wanted.permissions,
        };
        let mut chowned = false;
        if self.writable.owner != self.wanted.owner {
            let (uid, gid) = self.wanted.owner;
            // Below a set-group-id directory the host has already chosen the group.
            let inherits = fdio::stat_fd(self.above)?.permissions() & PASSES_GROUP_ON != 0;
            let gid = (!inherits).then(|| Gid::from_raw(gid));
            let uid = Some(Uid::from_raw(uid));
            rustix::fs::chownat(fd, "", uid, gid, AtFlags::EMPTY_PATH)?;
            chowned = true;
        }
        let masked = !self.passes_acl_on && mode & self.writable.umask != 0;
        let lost = masked || chowned && mode & 0o6000 != 0;
        match self.wanted.kind {
            FileKind::Symlink => Ok(()),
            FileKind::Directory if lost => {
                let inherited = fdio::stat_fd(fd)?.permissions() & PASSES_GROUP_ON;
                metadata::set_mode(fd, mode | inherited)
            }
            _ if lost => metadata::set_mode(fd, mode),
            _ => Ok(()),
        }
    }
}
