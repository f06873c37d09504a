//! Making and removing names.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use rustix::fs::AtFlags;
use rustix::fs::OFlags;
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use rustix::io::Result;

use super::caller::Caller;
use super::copy_up::Data;
use super::node::Name;
use super::node::Node;
use super::node::Place;
use super::node::lower_of;
use super::open::OpenFile;
use super::overlay::Overlay;
use super::overlay::Writable;
use super::table::Arrival;
use crate::fdio;
use crate::fdio::RawStat;
use crate::owners::New;
use crate::remove;
use crate::tree::Found;
use crate::tree::Part;
use crate::tree::find;
use crate::tree::read_merged;
use crate::upper::At;
use crate::upper::make_whiteout;
use crate::xattrs::Target;

/// A node and what it is like now.
pub(super) type Described = (Arc<Node>, RawStat);

/// Where an entry is to be made.
pub(super) struct NewName<'a> {
    pub(super) parent: &'a Arc<Node>,
    pub(super) name: &'a [u8],
}

/// What is wanted of a new entry.
#[derive(Clone, Copy)]
pub(super) struct NewEntry {
    /// As the program asks for it.
    pub(super) mode: u32,
    /// Permissions that the program takes away from what it makes.
    pub(super) umask: u32,
    pub(super) caller: Caller,
}

/// What stood in the way of a new entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replaced {
    Nothing,
    Whiteout,
}

impl Overlay {
    /// Makes a regular file, open for one handle.
    pub(super) fn create(&self, at: &NewName<'_>, new: NewEntry) -> Result<Described> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let change = self.change()?;
        let above = self.ensure_upper(at.parent, change.writable)?;
        let _busy = at.parent.lock_busy();
        let maker = self.maker(at.parent, &above, FileKind::File, new, change.writable)?;
        let (fd, _) = make(&above, at.name, |to| {
            rustix::fs::openat(to.dir, to.name, flags, maker.host_mode())
        })?;
        let raw = maker.finish(&fd)?;
        let node = self.arrived(at, &raw, Place::File(None));
        node.state().open = Some(OpenFile::new(fd, true, false));
        node.note_plain();
        Ok((node, raw))
    }

    /// Makes a directory.
    pub(super) fn make_dir(&self, at: &NewName<'_>, new: NewEntry) -> Result<Described> {
        let change = self.change()?;
        let above = self.ensure_upper(at.parent, change.writable)?;
        let _busy = at.parent.lock_busy();
        let maker = self.maker(at.parent, &above, FileKind::Directory, new, change.writable)?;
        let ((), replaced) = make(&above, at.name, |to| {
            rustix::fs::mkdirat(to.dir, to.name, maker.host_mode())
        })?;
        let fd = fdio::open_dir(&above, at.name)?;
        let raw = maker.finish(&fd)?;
        if replaced == Replaced::Whiteout {
            self.make_opaque(&fd)?;
        }
        let part = Part::upper(Arc::new(fd), self.format);
        Ok((
            self.arrived(at, &raw, Place::Directory(Arc::new([part]))),
            raw,
        ))
    }

    /// Hides what lies below a directory of the upper.
    pub(super) fn make_opaque(&self, dir: &OwnedFd) -> Result<()> {
        let opaque = self.format.xattrs.opaque();
        Target::opened(dir).set(opaque.as_bytes(), b"y")
    }

    /// Makes a symlink.
    pub(super) fn symlink(
        &self,
        at: &NewName<'_>,
        target: &[u8],
        caller: Caller,
    ) -> Result<Described> {
        let new = NewEntry {
            mode: 0o777,
            umask: 0,
            caller,
        };
        let owners = self.format.owners;
        self.make_other(at, FileKind::Symlink, new, |to, wanted| {
            owners.make_symlink(to.dir, to.name, target, wanted)
        })
    }

    /// Makes a regular file that is not opened, a fifo, a socket or a device.
    ///
    /// A character device 0:0 would be a whiteout: `EPERM`, as the kernel's overlay says.
    pub(super) fn make_node(
        &self,
        at: &NewName<'_>,
        new: NewEntry,
        kind: FileKind,
        device: DeviceNumber,
    ) -> Result<Described> {
        if kind == FileKind::CharDevice && device == DeviceNumber::default() {
            return Err(Errno::PERM);
        }
        let owners = self.format.owners;
        self.make_other(at, kind, new, |to, wanted| {
            let wanted = New { device, ..*wanted };
            owners.make_node(to.dir, to.name, &wanted)
        })
    }

    fn make_other(
        &self,
        at: &NewName<'_>,
        kind: FileKind,
        new: NewEntry,
        entry: impl Fn(At<'_>, &New) -> Result<()>,
    ) -> Result<Described> {
        let change = self.change()?;
        let above = self.ensure_upper(at.parent, change.writable)?;
        let _busy = at.parent.lock_busy();
        let maker = self.maker(at.parent, &above, kind, new, change.writable)?;
        make(&above, at.name, |to| entry(to, &maker.wanted))?;
        let fd = fdio::open_path(&above, at.name)?;
        let raw = maker.finish(&fd)?;
        Ok((self.arrived(at, &raw, Place::File(None)), raw))
    }

    /// Makes one more name for a file.
    pub(super) fn link(
        &self,
        node: &Arc<Node>,
        at: &NewName<'_>,
        caller: Caller,
    ) -> Result<RawStat> {
        self.copy_up(node, Data::Kept, caller)?;
        let change = self.change()?;
        let above = self.ensure_upper(at.parent, change.writable)?;
        let _busy = at.parent.lock_busy();
        let (part, name) = self.holder(node)?;
        make(&above, at.name, |to| {
            rustix::fs::linkat(&part.fd, &name, to.dir, to.name, AtFlags::empty())
        })?;
        let raw = self
            .format
            .owners
            .stat_at(&*above, at.name)?
            .ok_or(Errno::IO)?;
        // The kernel counts a reference for the reply.
        self.arrived(at, &raw, Place::File(None));
        Ok(raw)
    }

    fn arrived(&self, at: &NewName<'_>, raw: &RawStat, place: Place) -> Arc<Node> {
        self.adopt(Arrival {
            key: (None, raw.inode()),
            kind: raw.kind(),
            name: at.full(),
            place,
        })
    }

    /// Removes a name of anything but a directory.
    pub(super) fn unlink(&self, at: &NewName<'_>) -> Result<()> {
        let change = self.change()?;
        let above = self.ensure_upper(at.parent, change.writable)?;
        let _busy = at.parent.lock_busy();
        let parts = self.parts(at.parent)?;
        let Found::Other { part, raw } = find(&parts, at.name)?.ok_or(Errno::NOENT)? else {
            return Err(Errno::ISDIR);
        };
        let hide = part.layer().is_some() || find(lower_of(&parts), at.name)?.is_some();
        // The host must not use the inode again before the table knows that the file is gone.
        let _held = match part.layer() {
            None => Some(fdio::open_path(&above, at.name)?),
            Some(_) => None,
        };
        match (part.layer(), hide) {
            (None, false) => rustix::fs::unlinkat(&above, at.name, AtFlags::empty())?,
            (None, true) => change.writable.move_whiteout_to(&above, at.name)?,
            (Some(_), _) => make_whiteout(&above, at.name)?,
        }
        self.departed(at, &part, raw);
        Ok(())
    }

    /// Removes an empty directory.
    pub(super) fn remove_dir(&self, at: &NewName<'_>) -> Result<()> {
        let change = self.change()?;
        let above = self.ensure_upper(at.parent, change.writable)?;
        let _busy = at.parent.lock_busy();
        let parts = self.parts(at.parent)?;
        let Found::Directory(merged) = find(&parts, at.name)?.ok_or(Errno::NOENT)? else {
            return Err(Errno::NOTDIR);
        };
        if !read_merged(&merged)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        let top = merged.first().ok_or(Errno::IO)?;
        let raw = top.stat()?;
        let hide = top.layer().is_some() || find(lower_of(&parts), at.name)?.is_some();
        match (top.layer(), hide) {
            // It may still hold whiteouts.
            (None, false) => remove::remove_tree(&above, at.name)?,
            (None, true) => change.writable.exchange_for_whiteout(&above, at.name)?,
            (Some(_), _) => make_whiteout(&above, at.name)?,
        }
        self.departed(at, top, raw.without_names());
        Ok(())
    }

    /// Notes that a name is gone of what `raw` described in `part`.
    pub(super) fn departed(&self, at: &NewName<'_>, part: &Part, raw: RawStat) {
        let key = (part.layer(), raw.inode());
        let known = self.table.known(key);
        let left = raw.with_one_name_less();
        if part.layer().is_none() && left.nlink() == 0 {
            self.table.numbers.forget(raw.inode());
        }
        if let Some(node) = known {
            node.remove_name(&at.full(), left);
        }
    }
}

impl NewName<'_> {
    pub(super) fn full(&self) -> Name {
        Name {
            parent: self.parent.ino,
            name: self.name.to_vec(),
        }
    }
}

impl Writable {
    /// Replaces a file of the upper by a whiteout in one step.
    pub(super) fn move_whiteout_to(&self, dir: &OwnedFd, name: &[u8]) -> Result<()> {
        let staged = self.staged_name();
        make_whiteout(&self.work, &staged)?;
        let moved = rustix::fs::renameat(&self.work, &staged, dir, name);
        moved.inspect_err(|_| self.discard(&staged))
    }

    /// Replaces a directory of the upper, which shows nothing, by a whiteout.
    fn exchange_for_whiteout(&self, dir: &OwnedFd, name: &[u8]) -> Result<()> {
        let staged = self.staged_name();
        make_whiteout(&self.work, &staged)?;
        let flags = RenameFlags::EXCHANGE;
        let moved = rustix::fs::renameat_with(&self.work, &staged, dir, name, flags);
        self.discard(&staged);
        match moved {
            // The file system cannot.
            Err(Errno::INVAL) => {
                remove::remove_tree(dir, name)?;
                make_whiteout(dir, name)
            }
            moved => moved,
        }
    }
}

/// Makes an entry by `entry`, which must fail with `EEXIST` if the upper has the name; a whiteout makes
/// way for it. The kernel has just seen that the view has no such name.
fn make<T>(
    above: &OwnedFd,
    name: &[u8],
    entry: impl Fn(At<'_>) -> Result<T>,
) -> Result<(T, Replaced)> {
    let at = At { dir: above, name };
    match entry(at) {
        Err(Errno::EXIST) => {}
        made => return Ok((made?, Replaced::Nothing)),
    }
    if !fdio::stat_at(above, name)?.is_some_and(|raw| raw.is_whiteout()) {
        return Err(Errno::EXIST);
    }
    rustix::fs::unlinkat(above, name, AtFlags::empty())?;
    match entry(at) {
        Ok(made) => Ok((made, Replaced::Whiteout)),
        Err(error) => {
            make_whiteout(above, name)?;
            Err(error)
        }
    }
}
