//! Making entries.

use std::fs::File;
use std::os::fd::OwnedFd;

use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::LayerId;
use lamina_types::RootedPath;
use lamina_types::Stat;
use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::WriteDir;
use crate::Owners;
use crate::SnapshotError;
use crate::error::errno;
use crate::fdio;
use crate::fdio::RawStat;
use crate::links::Place;
use crate::metadata;
use crate::owners::New;
use crate::store::Layer;
use crate::tree::Entry;
use crate::tree::find;
use crate::xattrs::Target;

/// Says what stood in the way of a new entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replaced {
    Nothing,
    Whiteout,
}

impl WriteDir {
    /// Makes a directory with exactly the permissions `mode`, owned by the process's user.
    ///
    /// # Errors
    /// `EEXIST`, or what the host's file system says.
    pub fn make_dir(&self, name: &[u8], mode: u32) -> Result<Self, SnapshotError> {
        let path = self.check(name)?;
        let made = |dir: &OwnedFd| rustix::fs::mkdirat(dir, name, raw_mode(mode & 0o777));
        let ((), replaced) = self.create(name, &path, made)?;
        let fd = fdio::open_dir_readable(self.ensure()?, name).at(&path)?;
        match self.upper().owners() {
            // Always: the umask takes bits away, and a set-group-id parent adds one.
            Owners::Real => rustix::fs::fchmod(&fd, raw_mode(mode)).at(&path)?,
            Owners::Stored => self.settle(&fd, FileKind::Directory, mode, &path)?,
        }
        if replaced == Replaced::Whiteout {
            let opaque = self.upper().store().namespace().opaque();
            Target::opened(&fd).set(opaque.as_bytes(), b"y").at(&path)?;
        }
        self.adopt_new(path, fd)
    }

    /// As [`WriteDir::make_dir`], for a directory that is needed only to hold something: exports leave
    /// it out and merges prefer the metadata that other layers give it, until its metadata is set.
    ///
    /// # Errors
    /// As [`WriteDir::make_dir`].
    pub fn make_implied_dir(&self, name: &[u8], mode: u32) -> Result<Self, SnapshotError> {
        let dir = self.make_dir(name, mode)?;
        self.upper().mark_implied(dir.path());
        Ok(dir)
    }

    /// Makes an empty regular file with exactly the permissions `mode`, open for reading and writing.
    ///
    /// # Errors
    /// `EEXIST`, or what the host's file system says.
    pub fn create_file(&self, name: &[u8], mode: u32) -> Result<File, SnapshotError> {
        let path = self.check(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let (fd, _) = self.create(name, &path, |dir| {
            rustix::fs::openat(dir, name, flags | OFlags::CLOEXEC, raw_mode(mode))
        })?;
        match self.upper().owners() {
            Owners::Real if mode & (self.umask() | 0o6000) == 0 => {}
            Owners::Real => rustix::fs::fchmod(&fd, raw_mode(mode)).at(&path)?,
            Owners::Stored => self.settle(&fd, FileKind::File, mode, &path)?,
        }
        Ok(File::from(fd))
    }

    /// Makes a symlink.
    ///
    /// # Errors
    /// `EEXIST`, or what the host's file system says.
    pub fn symlink(&self, name: &[u8], target: &[u8]) -> Result<(), SnapshotError> {
        let path = self.check(name)?;
        let (owners, new) = (
            self.upper().owners(),
            self.new_entry(FileKind::Symlink, 0o777)?,
        );
        self.create(name, &path, |dir| {
            owners.make_symlink(dir, name, target, &new)
        })?;
        Ok(())
    }

    /// Makes a device, fifo or socket with the permissions of `stat`.
    ///
    /// # Errors
    /// `EEXIST`; `EINVAL` for other kinds and for the device number 0:0 of a character device, which
    /// would be a whiteout; [`SnapshotError::Device`] in a user namespace, unless owners are stored.
    pub fn make_node(&self, name: &[u8], stat: &Stat) -> Result<(), SnapshotError> {
        let path = self.check(name)?;
        let stat = checked_node(stat).ok_or_else(|| errno(Errno::INVAL, &path))?;
        let owners = self.upper().owners();
        let new = New {
            device: stat.device,
            ..self.new_entry(stat.kind, stat.mode)?
        };
        let make = |dir: &OwnedFd| owners.make_node(dir, name, &new);
        if let Err(error) = self.create(name, &path, make) {
            let is_device = matches!(stat.kind, FileKind::CharDevice | FileKind::BlockDevice);
            return match error.errno() == Some(Errno::PERM.raw_os_error()) && is_device {
                true => Err(SnapshotError::Device { path }),
                false => Err(error),
            };
        }
        if owners == Owners::Real && stat.mode & self.umask() != 0 {
            let fd = fdio::open_path(self.ensure()?, name).at(&path)?;
            metadata::set_mode(&fd, stat.mode).at(&path)?;
        }
        Ok(())
    }

    /// Makes `name` a further name of the file that `source` describes, without copying it.
    ///
    /// `source` may be in a sealed layer of the same store, if the rule of
    /// [`crate::ActiveLayer::may_link_from`] allows it, or in this layer. A later change of the name's
    /// metadata gives it a copy of its own, so the sealed file never changes.
    ///
    /// # Errors
    /// `EXDEV` if the rule forbids it: copy instead. `EEXIST`; `EMLINK` and `EPERM` as the kernel says.
    pub fn link_from(&self, name: &[u8], source: &Entry) -> Result<(), SnapshotError> {
        let origin = source.origin();
        match self.upper().source_of(&origin) {
            Some(layer) => {
                // What is sealed stays what it was when it was looked up.
                let (part, sealed_name) = source.holder()?;
                let source = Linked::Name(&part.fd, sealed_name);
                self.link_sealed(name, &source, origin.inode, &layer)
            }
            None => self.link(name, &source.path_fd()?),
        }
    }

    /// As [`WriteDir::link_from`], for what an open descriptor (`O_PATH` will do) stands for.
    ///
    /// # Errors
    /// As [`WriteDir::link_from`]; also `EXDEV` if the file is in no layer of this store.
    pub fn link(&self, name: &[u8], source: &OwnedFd) -> Result<(), SnapshotError> {
        let path = self.check(name)?;
        let raw = fdio::stat_fd(source).at(&path)?;
        match self.holder_of(source) {
            Some(Holder::Ourselves(known)) => self.link_own(name, (source, &raw), known),
            Some(Holder::Sealed(layer)) => {
                self.link_sealed(name, &Linked::Opened(source), raw.inode(), &layer)
            }
            None => Err(errno(Errno::XDEV, &path)),
        }
    }

    /// Links a file of this layer, which has the name `known`; its digest, which the new name is no reason
    /// to doubt, stays known.
    fn link_own(
        &self,
        name: &[u8],
        source: (&OwnedFd, &RawStat),
        known: Place,
    ) -> Result<(), SnapshotError> {
        let path = self.check(name)?;
        let (fd, before) = source;
        let (links, written) = (self.upper().links(), self.upper().written());
        let digest = written.get(before);
        self.make_link(name, &path, &Linked::Opened(fd))?;
        let further = (self.path().clone(), name.to_vec());
        links.note(before.inode(), known, further);
        if let (Some(digest), false) = (digest, links.is_shared(before.inode())) {
            written.note(&fdio::stat_fd(fd).at(&path)?, digest);
        }
        Ok(())
    }

    pub(super) fn link_sealed(
        &self,
        name: &[u8],
        source: &Linked<'_>,
        inode: u64,
        layer: &Layer,
    ) -> Result<(), SnapshotError> {
        let path = self.check(name)?;
        let links = self.upper().links();
        if !links.claim(inode, layer) {
            return Err(errno(Errno::XDEV, &path));
        }
        let linked = self.make_link(name, &path, source);
        match (&linked, layer.digests().get(inode)) {
            (Ok(()), Some(digest)) => self.upper().written().take_over(inode, digest),
            (Ok(()), None) => {}
            (Err(_), _) => links.disclaim(inode),
        }
        linked
    }

    fn make_link(
        &self,
        name: &[u8],
        path: &RootedPath,
        source: &Linked<'_>,
    ) -> Result<(), SnapshotError> {
        self.create(name, path, |dir| source.link(dir, name))?;
        Ok(())
    }

    /// Finds out which layer of this store a file is in, by the kernel's own spelling of its place.
    fn holder_of(&self, source: &OwnedFd) -> Option<Holder> {
        use std::os::unix::ffi::OsStrExt as _;
        let store = self.upper().store();
        let place = std::fs::read_link(fdio::proc_path(source)).ok()?;
        let inside = place.strip_prefix(store.path()).ok()?;
        let mut components = inside.components();
        let folder = components.next()?.as_os_str().as_bytes();
        let folder = std::str::from_utf8(folder).ok()?;
        if folder == self.upper().folder_name() {
            let inside = components.as_path().strip_prefix("fs").ok()?;
            let path = RootedPath::new(inside.as_os_str().as_bytes());
            let name = path.file_name()?.to_vec();
            return Some(Holder::Ourselves((path.parent()?, name)));
        }
        let id: LayerId = folder.parse().ok()?;
        store.layer(id).map(Holder::Sealed)
    }

    /// Leaves a whiteout at `name`, whatever the lower layers have there: for layers that are unpacked
    /// apart from those below them. What this layer has at `name` is removed.
    ///
    /// # Errors
    /// What the host's file system says.
    pub fn whiteout(&self, name: &[u8]) -> Result<(), SnapshotError> {
        let path = self.check(name)?;
        let dir = self.ensure()?;
        self.clear(dir, name, &path)?;
        Ok(make_whiteout(dir, name).at(&path)?)
    }

    /// Makes an entry by `make`, which must fail with `EEXIST` if the upper has the name.
    fn create<T>(
        &self,
        name: &[u8],
        path: &RootedPath,
        make: impl Fn(&OwnedFd) -> rustix::io::Result<T>,
    ) -> Result<(T, Replaced), SnapshotError> {
        let dir = self.ensure()?;
        let below = !self.0.lower.is_empty() && find(&self.0.lower, name).at(path)?.is_some();
        if below {
            remove_whiteout(dir, name, path)?;
            return Ok((make(dir).at(path)?, Replaced::Whiteout));
        }
        match make(dir) {
            Err(Errno::EXIST) => {
                remove_whiteout(dir, name, path)?;
                Ok((make(dir).at(path)?, Replaced::Whiteout))
            }
            made => Ok((made.at(path)?, Replaced::Nothing)),
        }
    }

    /// Gives what was just made behind `fd` exactly the permissions `mode`, where those are stored.
    fn settle(
        &self,
        fd: &OwnedFd,
        kind: FileKind,
        mode: u32,
        path: &RootedPath,
    ) -> Result<(), SnapshotError> {
        let new = self.new_entry(kind, mode)?;
        Ok(self.upper().owners().settle(fd, &new).at(path)?)
    }

    /// Describes something new of the process's, with the group that this directory passes on; where
    /// owners are real that is the kernel's work.
    fn new_entry(&self, kind: FileKind, mode: u32) -> Result<New, SnapshotError> {
        let group = match self.upper().owners() {
            Owners::Real => None,
            Owners::Stored => Owners::Stored
                .inherited_group(&**self.ensure()?)
                .at(self.path())?,
        };
        Ok(New::plain(kind, mode, (0, group.unwrap_or(0))))
    }

    fn umask(&self) -> u32 {
        self.upper().store().umask()
    }
}

/// What holds a file.
enum Holder {
    /// This layer, at this place.
    Ourselves(Place),
    Sealed(Layer),
}

/// What a link is made to.
pub(super) enum Linked<'a> {
    /// A name, which is not followed.
    Name(&'a OwnedFd, &'a [u8]),
    Opened(&'a OwnedFd),
}

impl Linked<'_> {
    fn link(&self, dir: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
        match self {
            Self::Name(from, old) => rustix::fs::linkat(from, *old, dir, name, AtFlags::empty()),
            Self::Opened(fd) => {
                let path = fdio::proc_path(fd);
                rustix::fs::linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)
            }
        }
    }
}

fn raw_mode(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}

/// Makes way for a new entry; `EEXIST` if there is anything but a whiteout.
fn remove_whiteout(dir: &OwnedFd, name: &[u8], path: &RootedPath) -> Result<(), SnapshotError> {
    match fdio::stat_at(dir, name).at(path)? {
        Some(raw) if raw.is_whiteout() => {
            Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty()).at(path)?)
        }
        _ => Err(errno(Errno::EXIST, path)),
    }
}

/// Makes a character device 0:0.
pub(crate) fn make_whiteout(dir: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    rustix::fs::mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0)
}

/// Returns `stat` if it describes what [`WriteDir::make_node`] makes.
fn checked_node(stat: &Stat) -> Option<&Stat> {
    let is_node = match stat.kind {
        FileKind::CharDevice => stat.device != DeviceNumber::default(),
        FileKind::BlockDevice | FileKind::Fifo | FileKind::Socket => true,
        FileKind::File | FileKind::Directory | FileKind::Symlink => false,
    };
    is_node.then_some(stat)
}
