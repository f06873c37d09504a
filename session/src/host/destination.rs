//! A directory of this host that is filled, reached through handles only.
//!
//! It is the user's, and may hold symlinks that lead elsewhere. Only the path that the user gave is
//! followed; below it every component is opened by itself and must be a directory. Whoever names
//! the paths need not be trusted: `.` and `..` are refused.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use lamina_types::CancelToken;
use lamina_types::Cancelled;
use lamina_types::IoContext;
use lamina_types::PathError;
use lamina_types::Stat;
use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::open_dir;
use super::open_root;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// An open directory that is filled (rows ELO-01 to ELO-10, SVC-08). Paths are relative to it, with
/// slashes and without one at the beginning.
#[derive(Debug)]
pub struct Destination {
    root: OwnedFd,
    shown: String,
}

impl Destination {
    /// Opens `target`, which exists; symlinks in this path are followed.
    ///
    /// # Errors
    /// If it is no directory or cannot be opened.
    pub fn open(target: &Path) -> Result<Self, PathError> {
        let shown = target.display().to_string();
        let root = open_root(target).at(&shown)?;
        Ok(Self { root, shown })
    }

    /// Returns the path as the user knows it, for errors.
    #[must_use]
    pub fn show(&self, path: &[u8]) -> String {
        format!("{}/{}", self.shown, String::from_utf8_lossy(path))
    }

    /// Opens the directory at `path`; empty is the target itself.
    ///
    /// # Errors
    /// If a component is missing, is no directory, or is `.` or `..`.
    pub fn directory(&self, path: &[u8]) -> Result<OwnedFd, PathError> {
        let start = rustix::io::fcntl_dupfd_cloexec(&self.root, 0).at(&self.shown)?;
        path.split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
            .try_fold(start, |open, part| open_dir(&open, own_name(part)?))
            .at(self.show(path))
    }

    /// Opens the directory that holds `path`, and returns the last component.
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub fn parent<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p OsStr), PathError> {
        let (parent, name) = split(path);
        let name = own_name(name).at(self.show(path))?;
        Ok((self.directory(parent)?, OsStr::from_bytes(name)))
    }

    /// Makes a directory, or takes the one that is there; anything else there goes.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn make_directory(&self, path: &[u8]) -> Result<(), PathError> {
        let (parent, name) = self.parent(path)?;
        let shown = self.show(path);
        if let Ok(found) = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                return Ok(());
            }
            rustix::fs::unlinkat(&parent, name, AtFlags::empty()).at(&shown)?;
        }
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)).at(&shown)
    }

    /// Gives the file at `first` another name; what is at `path` goes first.
    ///
    /// # Errors
    /// If it cannot be linked.
    pub fn link(&self, path: &[u8], first: &[u8]) -> Result<(), PathError> {
        let (parent, name) = self.parent(path)?;
        let (from, first_name) = self.parent(first)?;
        self.clear(&parent, name, path)?;
        let linked = rustix::fs::linkat(&from, first_name, &parent, name, AtFlags::empty());
        linked.at(self.show(path))
    }

    /// Removes whatever is at `name` in `parent`; `path` is what errors show.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn clear(&self, parent: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<(), PathError> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => remove_tree(parent, name).at(self.show(path)),
            Err(error) => Err(error).at(self.show(path)),
        }
    }

    /// Removes what `keep` does not want (row ELO-03, `mode=delete`).
    ///
    /// # Errors
    /// If something cannot be read or removed, or at a cancel.
    pub fn remove_others<E>(
        &self,
        keep: impl Fn(&[u8]) -> bool,
        cancel: &CancelToken,
    ) -> Result<(), E>
    where
        E: From<PathError> + From<Cancelled>,
    {
        let mut open: Vec<Vec<u8>> = vec![Vec::new()];
        while let Some(folder) = open.pop() {
            let directory = self.directory(&folder)?;
            for (name, is_directory) in list(&directory).at(self.show(&folder))? {
                cancel.check()?;
                let path = match folder.is_empty() {
                    true => name.clone(),
                    false => [&folder[..], b"/", &name].concat(),
                };
                if !keep(&path) {
                    self.clear(&directory, OsStr::from_bytes(&name), &path)?;
                } else if is_directory {
                    open.push(path);
                }
            }
        }
        Ok(())
    }
}

/// Sets attributes, mode and times of what is open; attributes that the system refuses are left out.
///
/// # Errors
/// If the system refuses anything else.
pub fn set_metadata(target: &impl AsFd, stat: &Stat, mtime_ns: i128) -> io::Result<()> {
    for (name, value) in &stat.xattrs {
        match rustix::fs::fsetxattr(target, &name[..], value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    rustix::fs::fchmod(target, Mode::from_raw_mode(stat.mode))?;
    Ok(rustix::fs::futimens(target, &timestamps(mtime_ns))?)
}

/// Returns a time, in nanoseconds since 1970, for both times of a file.
#[must_use]
pub fn timestamps(mtime_ns: i128) -> Timestamps {
    let time = Timespec {
        tv_sec: i64::try_from(mtime_ns.div_euclid(NANOS_PER_SECOND)).unwrap_or(0),
        tv_nsec: i64::try_from(mtime_ns.rem_euclid(NANOS_PER_SECOND)).unwrap_or(0),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Splits a path into its directory and its last component.
#[must_use]
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Refuses names that are not entries of a directory of their own.
fn own_name(name: &[u8]) -> rustix::io::Result<&[u8]> {
    match name {
        b"" | b"." | b".." => Err(Errno::INVAL),
        name => Ok(name),
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
            FileType::Unknown => {
                let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(found.st_mode) == FileType::Directory
            }
            known => known == FileType::Directory,
        };
        names.push((name.to_vec(), is_directory));
    }
    Ok(names)
}

/// A directory that is being emptied: its handle, its name, and the directories still in it.
struct Emptied {
    handle: OwnedFd,
    name: Vec<u8>,
    below: Vec<Vec<u8>>,
}

impl Emptied {
    /// Opens a directory and removes all but the directories in it.
    fn open(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<Self> {
        let handle = open_dir(parent, name)?;
        let mut below = Vec::new();
        for (name, is_directory) in list(&handle)? {
            if is_directory {
                below.push(name);
            } else {
                rustix::fs::unlinkat(&handle, &name[..], AtFlags::empty())?;
            }
        }
        Ok(Self {
            handle,
            name: name.to_vec(),
            below,
        })
    }
}

/// Removes a directory with all that is in it, without recursion: the way down is a stack of
/// handles.
fn remove_tree(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    let mut open = vec![Emptied::open(parent, name.as_bytes())?];
    while let Some(last) = open.last_mut() {
        if let Some(name) = last.below.pop() {
            let below = Emptied::open(&last.handle, &name)?;
            open.push(below);
            continue;
        }
        let emptied = open.pop();
        let holder = open
            .last()
            .map_or(parent.as_fd(), |last| last.handle.as_fd());
        if let Some(emptied) = emptied {
            rustix::fs::unlinkat(holder, &emptied.name[..], AtFlags::REMOVEDIR)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::SessionError;

    #[test]
    fn no_path_leads_out() {
        let outside = tempfile::tempdir().expect("a folder");
        let inside = tempfile::tempdir().expect("a folder");
        symlink(outside.path(), inside.path().join("link")).expect("a link");
        let destination = Destination::open(inside.path()).expect("opens");
        for path in ["..", "../x", "a/../../x", ".", "", "link/x", "/../x"] {
            let made = destination.make_directory(path.as_bytes());
            assert!(made.is_err(), "{path:?}");
        }
        assert_eq!(fs::read_dir(outside.path()).expect("lists").count(), 0);
    }

    #[test]
    fn links_are_replaced_and_removed_not_followed() {
        let outside = tempfile::tempdir().expect("a folder");
        fs::write(outside.path().join("precious"), "x").expect("a file");
        let inside = tempfile::tempdir().expect("a folder");
        for name in ["a", "b"] {
            symlink(outside.path(), inside.path().join(name)).expect("a link");
        }
        fs::create_dir(inside.path().join("c")).expect("a folder");
        symlink(outside.path(), inside.path().join("c/d")).expect("a link");
        let destination = Destination::open(inside.path()).expect("opens");
        destination.make_directory(b"a").expect("replaces");
        let keep = |path: &[u8]| path == b"a";
        let removed: Result<(), SessionError> =
            destination.remove_others(keep, &CancelToken::new());
        removed.expect("removes");
        let left: Vec<_> = fs::read_dir(inside.path())
            .expect("lists")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(left, ["a"]);
        assert!(inside.path().join("a").is_dir());
        assert!(outside.path().join("precious").exists());
    }
}
