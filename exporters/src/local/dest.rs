//! The target of a local export, reached through directory handles only.
//!
//! The target is the user's, and may hold symlinks that lead elsewhere. Only the path that the user
//! gave is followed; below it every component is opened by itself and must be a directory.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lamina_types::CancelToken;
use lamina_types::IoContext;
use lamina_types::PathError;
use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::ExportError;

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::RDONLY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// An open directory that is filled.
pub(super) struct Destination {
    root: OwnedFd,
    shown: String,
}

impl Destination {
    /// Opens `target`, which exists.
    ///
    /// # Errors
    /// If it is no directory or cannot be opened.
    pub(super) fn open(target: &Path) -> Result<Self, PathError> {
        let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
        let shown = target.display().to_string();
        let root = rustix::fs::open(target, flags, Mode::empty()).at(&shown)?;
        Ok(Self { root, shown })
    }

    /// Returns the path as the user knows it, for errors.
    pub(super) fn show(&self, path: &[u8]) -> String {
        format!("{}/{}", self.shown, String::from_utf8_lossy(path))
    }

    /// Opens the directory at `path`; empty is the target itself.
    ///
    /// # Errors
    /// If a component is missing or is no directory.
    pub(super) fn directory(&self, path: &[u8]) -> Result<OwnedFd, PathError> {
        let start = rustix::io::fcntl_dupfd_cloexec(&self.root, 0).at(&self.shown)?;
        path.split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
            .try_fold(start, |open, part| {
                rustix::fs::openat(&open, part, DIRECTORY, Mode::empty())
            })
            .at(self.show(path))
    }

    /// Opens the directory that holds `path`, and returns the last component.
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub(super) fn parent<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p OsStr), PathError> {
        let (parent, name) = split(path);
        Ok((self.directory(parent)?, OsStr::from_bytes(name)))
    }

    /// Makes a directory, or takes the one that is there; anything else there goes.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn make_directory(&self, path: &[u8]) -> Result<(), PathError> {
        let (parent, name) = self.parent(path)?;
        let at = |result: rustix::io::Result<()>| result.at(self.show(path));
        let found = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
        if let Ok(found) = found {
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                return Ok(());
            }
            at(rustix::fs::unlinkat(&parent, name, AtFlags::empty()))?;
        }
        at(rustix::fs::mkdirat(
            &parent,
            name,
            Mode::from_raw_mode(0o700),
        ))
    }

    /// Removes whatever is at `name`.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub(super) fn clear(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &[u8],
    ) -> Result<(), PathError> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => remove_tree(parent, name).at(self.show(path)),
            Err(error) => Err(error).at(self.show(path)),
        }
    }

    /// Removes what is not in `keep` (row ELO-03, `mode=delete`).
    ///
    /// # Errors
    /// If something cannot be read or removed.
    pub(super) fn remove_others(
        &self,
        keep: &BTreeSet<&[u8]>,
        cancel: &CancelToken,
    ) -> Result<(), ExportError> {
        let mut open: Vec<Vec<u8>> = vec![Vec::new()];
        while let Some(folder) = open.pop() {
            let directory = self.directory(&folder)?;
            for (name, is_directory) in list(&directory).at(self.show(&folder))? {
                cancel.check()?;
                let path = match folder.is_empty() {
                    true => name.clone(),
                    false => [&folder[..], b"/", &name].concat(),
                };
                if !keep.contains(&path[..]) {
                    self.clear(&directory, OsStr::from_bytes(&name), &path)?;
                } else if is_directory {
                    open.push(path);
                }
            }
        }
        Ok(())
    }
}

/// Splits a path into its directory and its last component.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Names in a directory, and whether each is a directory itself.
fn list(directory: &OwnedFd) -> rustix::io::Result<Vec<(Vec<u8>, bool)>> {
    let mut names = Vec::new();
    for item in Dir::read_from(directory)? {
        let item = item?;
        let name = item.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let is_directory = match item.file_type() {
            FileType::Unknown => is_directory(directory, name)?,
            known => known == FileType::Directory,
        };
        names.push((name.to_vec(), is_directory));
    }
    Ok(names)
}

fn is_directory(directory: &OwnedFd, name: &[u8]) -> rustix::io::Result<bool> {
    let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(found.st_mode) == FileType::Directory)
}

/// Removes a directory with all that is in it, without recursion: the way down is a stack of
/// handles.
fn remove_tree(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    let mut open: Vec<(OwnedFd, Vec<u8>)> = Vec::new();
    let top = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?;
    open.push((top, name.as_bytes().to_vec()));
    while let Some((directory, _)) = open.last() {
        let mut below = None;
        for (name, is_directory) in list(directory)? {
            if is_directory {
                let handle = rustix::fs::openat(directory, &name[..], DIRECTORY, Mode::empty())?;
                below = Some((handle, name));
                break;
            }
            rustix::fs::unlinkat(directory, &name[..], AtFlags::empty())?;
        }
        if let Some(below) = below {
            open.push(below);
            continue;
        }
        let Some((_, emptied)) = open.pop() else {
            break;
        };
        let holder = open
            .last()
            .map_or(parent.as_fd(), |(handle, _)| handle.as_fd());
        rustix::fs::unlinkat(holder, &emptied[..], AtFlags::REMOVEDIR)?;
    }
    Ok(())
}
