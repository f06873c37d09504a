//! One file or directory that we made in an upper, known by identity.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use lamina_types::Stat;
use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::upper;
use crate::ExecError;
use crate::error::Doing;

/// Something of ours in an upper directory.
pub(super) struct Remembered {
    parent: OwnedFd,
    name: Vec<u8>,
    inode: u64,
    device: u64,
    /// A copied directory: what it is a copy of. A stub: `None`.
    original: Option<Stat>,
    /// Mode, user and group on disk at the time, where they need not be those of the image.
    on_disk: (u32, u32, u32),
    /// Its own attributes at the time, those of overlayfs left out.
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Remembered {
    /// Remembers `name` in `parent`, a copy of what `original` describes or else a stub.
    pub(super) fn new(
        parent: &OwnedFd,
        name: &[u8],
        original: Option<Stat>,
    ) -> Result<Self, ExecError> {
        let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .doing("find a mount point that was just made")?;
        let parent = parent.try_clone().doing("keep a directory open")?;
        let xattrs = match &original {
            Some(_) => attributes(&parent, name)?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            parent,
            name: name.to_vec(),
            inode: found.st_ino,
            device: found.st_dev,
            original,
            on_disk: mode_and_owner(&found),
            xattrs,
        })
    }

    /// Removes it if it is still the same and empty, and puts the parent's time back.
    pub(super) fn remove(self) -> Result<(), ExecError> {
        let found = rustix::fs::statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        let Ok(found) = found else {
            return Ok(());
        };
        if (found.st_ino, found.st_dev) != (self.inode, self.device) {
            return Ok(());
        }
        let is_dir = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        let keep = match &self.original {
            Some(original) => !self.is_unchanged(original, &found)?,
            None => !is_dir && found.st_size != 0,
        };
        if keep {
            return Ok(());
        }
        let time = upper::mtime(&self.parent)?;
        let flags = if is_dir {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        match rustix::fs::unlinkat(&self.parent, &self.name, flags) {
            Ok(()) => upper::set_mtime(&self.parent, time),
            // The step filled it.
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(error) => Err(error).doing("remove a mount point"),
        }
    }

    fn is_unchanged(&self, original: &Stat, found: &rustix::fs::Stat) -> Result<bool, ExecError> {
        let mtime_ns = i128::from(found.st_mtime) * 1_000_000_000 + i128::from(found.st_mtime_nsec);
        let now = (mode_and_owner(found), mtime_ns);
        let then = (self.on_disk, original.mtime_ns);
        Ok(now == then && attributes(&self.parent, &self.name)? == self.xattrs)
    }
}

fn mode_and_owner(stat: &rustix::fs::Stat) -> (u32, u32, u32) {
    (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)
}

/// Reads the attributes of a directory that are not overlayfs' own.
fn attributes(parent: &OwnedFd, name: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ExecError> {
    let dir = upper::open(parent, name).doing("open a copied directory")?;
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(&dir, &mut names) {
        Err(Errno::NOTSUP) => 0,
        result => result.doing("list extended attributes")?,
    };
    let mut found = BTreeMap::new();
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let length =
            rustix::fs::fgetxattr(&dir, name, &mut value).doing("read an extended attribute")?;
        value.truncate(length);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}
