//! Renaming.
//!
//! A file moves as it does on the host, once it is in the upper. A directory of which sealed layers have
//! a part cannot move alone: a changeset has no way of saying "what was there is now here". The
//! kernel's overlay refuses with `EXDEV` and leaves the copying to the program; here everything below it
//! is copied up, which costs the same and keeps hard links and inode numbers.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::RenameFlags;
use rustix::io::Errno;
use rustix::io::Result;

use super::caller::Caller;
use super::copy_up::Data;
use super::names::NewName;
use super::node::Node;
use super::node::lower_of;
use super::overlay::Overlay;
use super::overlay::Upheaval;
use super::overlay::arrival;
use crate::fdio;
use crate::fdio::RawStat;
use crate::remove;
use crate::tree::Found;
use crate::tree::Part;
use crate::tree::find;
use crate::tree::read_merged;
use crate::upper::make_whiteout;

/// One end of a rename.
struct End<'a> {
    at: &'a NewName<'a>,
    above: Arc<OwnedFd>,
    /// Sealed layers have the name.
    covers: bool,
    found: Option<Moved>,
}

/// What is at one end.
struct Moved {
    /// Known to the kernel for as long as this lives.
    node: Arc<Node>,
    part: Part,
    raw: RawStat,
}

impl Overlay {
    /// Renames `from` to `to`.
    ///
    /// `RENAME_WHITEOUT` is refused with `EINVAL`, as by the kernel's overlay: what it leaves behind
    /// would be a deletion in this overlay.
    pub(super) fn rename(
        &self,
        from: &NewName<'_>,
        to: &NewName<'_>,
        flags: RenameFlags,
        caller: Caller,
    ) -> Result<()> {
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::INVAL);
        }
        self.prepare_file(from, caller)?;
        if flags.contains(RenameFlags::EXCHANGE) {
            self.prepare_file(to, caller)?;
        }
        let upheaval = self.upheaval()?;
        let (mut source, mut target) = (self.end(from, &upheaval)?, self.end(to, &upheaval)?);
        let result = self.rename_ends(&mut source, &mut target, flags, (&upheaval, caller));
        drop(upheaval);
        for end in [source, target] {
            if let Some(moved) = end.found {
                self.table.forget(moved.node.ino, 1);
            }
        }
        result
    }

    /// Copies a file up before others are kept from changing names, since that may take a while.
    fn prepare_file(&self, at: &NewName<'_>, caller: Caller) -> Result<()> {
        let (node, _) = self.lookup(at.parent, at.name)?.ok_or(Errno::NOENT)?;
        let prepared = match node.is_in_lower() {
            true => self.copy_up(&node, Data::Kept, caller),
            false => Ok(()),
        };
        self.table.forget(node.ino, 1);
        prepared
    }

    fn end<'a>(&self, at: &'a NewName<'a>, upheaval: &Upheaval<'_>) -> Result<End<'a>> {
        let above = self.ensure_upper(at.parent, upheaval.writable)?;
        let parts = self.parts(at.parent)?;
        let covers = find(lower_of(&parts), at.name)?.is_some();
        let found = find(&parts, at.name)?;
        let found = found.map(|found| self.moved(at, found)).transpose()?;
        Ok(End {
            at,
            above,
            covers,
            found,
        })
    }

    fn moved(&self, at: &NewName<'_>, found: Found) -> Result<Moved> {
        let part = match &found {
            Found::Directory(parts) => parts.first().cloned().ok_or(Errno::IO)?,
            Found::Other { part, .. } => part.clone(),
        };
        let (raw, arrival) = arrival(at.parent.ino, at.name, found)?;
        let node = self.adopt(arrival);
        Ok(Moved { node, part, raw })
    }

    fn rename_ends(
        &self,
        source: &mut End<'_>,
        target: &mut End<'_>,
        flags: RenameFlags,
        (upheaval, caller): (&Upheaval<'_>, Caller),
    ) -> Result<()> {
        let moved = source.found.as_ref().ok_or(Errno::NOENT)?;
        self.bring_up(source, target, (upheaval, caller))?;
        if flags.contains(RenameFlags::EXCHANGE) {
            let other = target.found.as_ref().ok_or(Errno::NOENT)?;
            self.bring_up(target, source, (upheaval, caller))?;
            source.exchange_with(target)?;
            other.node.replace_name(&target.at.full(), source.at.full());
            moved.node.replace_name(&source.at.full(), target.at.full());
            return Ok(());
        }
        if flags.contains(RenameFlags::NOREPLACE) && target.found.is_some() {
            return Err(Errno::EXIST);
        }
        if target.is_same_as(source) {
            return Ok(());
        }
        self.check_replaceable(target, moved)?;
        self.replace(source, target, upheaval)?;
        if let Some(replaced) = &target.found {
            let raw = match replaced.raw.is_dir() {
                true => replaced.raw.without_names(),
                false => replaced.raw,
            };
            self.departed(target.at, &replaced.part, raw);
        }
        moved.node.replace_name(&source.at.full(), target.at.full());
        Ok(())
    }

    /// Checks that what is at `target` may be replaced by `moved`.
    fn check_replaceable(&self, target: &End<'_>, moved: &Moved) -> Result<()> {
        let Some(replaced) = &target.found else {
            return Ok(());
        };
        match (moved.raw.is_dir(), replaced.raw.is_dir()) {
            (true, false) => Err(Errno::NOTDIR),
            (false, true) => Err(Errno::ISDIR),
            (false, false) => Ok(()),
            (true, true) => match read_merged(&self.parts(&replaced.node)?)?.is_empty() {
                true => Ok(()),
                false => Err(Errno::NOTEMPTY),
            },
        }
    }

    /// Brings what is at `end` into the upper, with everything below it, ready to stand at `other`.
    fn bring_up(
        &self,
        end: &End<'_>,
        other: &End<'_>,
        (upheaval, caller): (&Upheaval<'_>, Caller),
    ) -> Result<()> {
        let moved = end.found.as_ref().ok_or(Errno::NOENT)?;
        if !moved.raw.is_dir() {
            // It was copied up before; if not, somebody else was quicker with another name.
            return match moved.node.is_in_lower() {
                true => Err(Errno::STALE),
                false => Ok(()),
            };
        }
        let fd = self.ensure_upper(&moved.node, upheaval.writable)?;
        if !lower_of(&self.parts(&moved.node)?).is_empty() {
            self.copy_tree_up(&moved.node, upheaval.writable, caller)?;
        } else if other.covers {
            self.make_opaque(&fd)?;
        }
        Ok(())
    }

    /// Moves the source over the target, and leaves a whiteout where sealed layers have the name.
    fn replace(&self, source: &End<'_>, target: &End<'_>, upheaval: &Upheaval<'_>) -> Result<()> {
        let writable = upheaval.writable;
        let hole = match source.covers {
            true => Some(writable.staged_name()),
            false => None,
        };
        if let Some(hole) = &hole {
            make_whiteout(&writable.work, hole)?;
        }
        let is_dir = source
            .found
            .as_ref()
            .is_some_and(|moved| moved.raw.is_dir());
        let moved = match is_dir && target.upper_has_it()? {
            true => source
                .exchange_with(target)
                .and_then(|()| remove::remove_tree(&source.above, source.at.name)),
            false => source.move_to(target),
        };
        let Some(hole) = hole else { return moved };
        if let Err(error) = moved {
            writable.discard(&hole);
            return Err(error);
        }
        rustix::fs::renameat(&writable.work, &hole, &source.above, source.at.name)
    }
}

impl End<'_> {
    /// Says whether the upper has anything under the name, a whiteout or a directory with whiteouts.
    fn upper_has_it(&self) -> Result<bool> {
        Ok(fdio::stat_at(&self.above, self.at.name)?.is_some())
    }

    /// Says whether both ends are names of one file: then nothing is to be done.
    fn is_same_as(&self, other: &Self) -> bool {
        let number = |end: &Self| end.found.as_ref().map(|moved| moved.node.ino);
        number(self).is_some() && number(self) == number(other)
    }

    fn move_to(&self, target: &Self) -> Result<()> {
        rustix::fs::renameat(&self.above, self.at.name, &target.above, target.at.name)
    }

    fn exchange_with(&self, target: &Self) -> Result<()> {
        let flags = RenameFlags::EXCHANGE;
        let (from, to) = (self.at.name, target.at.name);
        rustix::fs::renameat_with(&self.above, from, &target.above, to, flags)
    }
}
