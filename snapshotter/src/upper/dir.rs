//! One directory of the merged view, as something to write to.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;

use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use rustix::io::Errno;

use super::Upper;
use super::stage::At;
use super::stage::copy_dir;
use crate::SnapshotError;
use crate::error::errno;
use crate::fdio;
use crate::metadata;
use crate::tree::Entry;
use crate::tree::Found;
use crate::tree::Part;
use crate::tree::Tree;
use crate::tree::find;
use crate::tree::is_opaque;

/// The longest path that can be written. Calls name one component each, so the kernel's limit of 4,096
/// bytes does not count; a directory that is open holds a descriptor for each one above it.
const MAX_PATH_BYTES: usize = 64 << 10;

/// The mode bit of a set-group-id directory.
const SET_GID: u32 = 0o2000;

/// A directory of the merged view. It is copied up when it is first written to.
///
/// A name is a single component. What makes an entry fails with `EEXIST` if the view has the name
/// already. After [`WriteDir::remove`] of a directory, what was opened at or below it is of no use.
#[derive(Clone)]
pub struct WriteDir(pub(super) Arc<DirInner>);

pub(super) struct DirInner {
    upper: Upper,
    path: RootedPath,
    /// The directory that this one is in; `None` for the root.
    parent: Option<WriteDir>,
    /// Sealed directories that merge here, topmost first.
    pub(super) lower: Arc<[Part]>,
    /// The directory in the upper, once it is there.
    made: OnceLock<Arc<OwnedFd>>,
    /// Held while a directory in this one is copied up.
    making: Mutex<()>,
}

impl Drop for DirInner {
    /// Forgets the directory, so that those which nobody has open cost nothing.
    fn drop(&mut self) {
        self.upper.drop_unused(&self.path);
    }
}

impl WriteDir {
    pub(super) fn make_root(upper: &Upper) -> Result<Self, SnapshotError> {
        let inner = DirInner {
            upper: upper.clone(),
            path: RootedPath::root(),
            parent: None,
            lower: upper.lower().root_parts()?,
            made: OnceLock::from(Arc::clone(upper.root_fd())),
            making: Mutex::default(),
        };
        Ok(Self(Arc::new(inner)))
    }

    fn make_child(&self, path: RootedPath, lower: Arc<[Part]>, made: Option<OwnedFd>) -> Self {
        Self(Arc::new(DirInner {
            upper: self.0.upper.clone(),
            path,
            parent: Some(self.clone()),
            lower,
            made: made
                .map(|fd| OnceLock::from(Arc::new(fd)))
                .unwrap_or_default(),
            making: Mutex::default(),
        }))
    }

    /// Notes the directory that was just made at `path`; nothing below it shows through.
    pub(super) fn adopt_new(&self, path: RootedPath, fd: OwnedFd) -> Result<Self, SnapshotError> {
        let made = self.make_child(path, Arc::new([]), Some(fd));
        let made = self.upper().intern(made)?;
        Ok(made.expect("it is in the upper"))
    }

    /// Returns the directory that holds this one; `None` for the root.
    pub(super) fn parent(&self) -> Option<&Self> {
        self.0.parent.as_ref()
    }

    /// Returns the path of the directory, without symlinks.
    #[must_use]
    pub fn path(&self) -> &RootedPath {
        &self.0.path
    }

    /// Returns the merged view that this directory is in.
    pub(crate) fn tree(&self) -> &Tree {
        self.0.upper.tree()
    }

    pub(super) fn upper(&self) -> &Upper {
        &self.0.upper
    }

    /// Returns the path of `name`, after checking that it is one component and can be written.
    pub(super) fn check(&self, name: &[u8]) -> Result<RootedPath, SnapshotError> {
        let path = self.child_path(name)?;
        self.upper().check_unsealed(&path)?;
        Ok(path)
    }

    fn child_path(&self, name: &[u8]) -> Result<RootedPath, SnapshotError> {
        if !fdio::is_plain_name(name) {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(SnapshotError::BadName { name });
        }
        let length = self.path().as_bytes().len() + 1 + name.len();
        if length > MAX_PATH_BYTES {
            return Err(errno(Errno::NAMETOOLONG, self.path()));
        }
        Ok(self.path().join(name))
    }

    /// Returns the merged entry `name`, not following it; `None` if the view has none.
    ///
    /// # Errors
    /// [`SnapshotError::BadName`], or what the host's file system says.
    pub fn lookup(&self, name: &[u8]) -> Result<Option<Entry>, SnapshotError> {
        self.child_path(name)?;
        match find(&self.parts(), name).at(self.path())? {
            Some(found) => {
                Entry::from_found(self.upper().tree(), self.path(), name, found).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Returns this directory as an entry.
    ///
    /// # Errors
    /// What the host's file system says.
    pub fn entry(&self) -> Result<Entry, SnapshotError> {
        let parts = self.parts().into();
        Entry::directory(self.upper().tree(), self.path().clone(), parts)
    }

    /// Returns what kind of thing the view has at `name`, not following it; `None` if it has nothing.
    ///
    /// # Errors
    /// As [`WriteDir::lookup`], of which this is the cheap part.
    pub fn kind_of(&self, name: &[u8]) -> Result<Option<FileKind>, SnapshotError> {
        self.child_path(name)?;
        let found = find(&self.parts(), name).at(self.path())?;
        Ok(found.map(|found| match found {
            Found::Directory(_) => FileKind::Directory,
            Found::Other { raw, .. } => raw.kind(),
        }))
    }

    /// Returns the group that this directory passes on to what is made in it, if it is a set-group-id
    /// directory.
    ///
    /// # Errors
    /// What the host's file system says.
    pub fn inherited_group(&self) -> Result<Option<u32>, SnapshotError> {
        let parts = self.parts();
        let Some(top) = parts.first() else {
            return Ok(None);
        };
        let raw = top.stat().at(self.path())?;
        Ok((raw.permissions() & SET_GID != 0).then_some(raw.owner().1))
    }

    fn parts(&self) -> Vec<Part> {
        let format = self.upper().store().format();
        let made = self.made().map(|fd| Part::upper(Arc::clone(fd), format));
        made.into_iter()
            .chain(self.0.lower.iter().cloned())
            .collect()
    }

    /// Returns the directory in the upper, if it is there.
    pub(super) fn made(&self) -> Option<&Arc<OwnedFd>> {
        self.0.made.get()
    }

    /// Opens an existing child directory, not following links.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`.
    pub fn open_dir(&self, name: &[u8]) -> Result<Self, SnapshotError> {
        let path = self.child_path(name)?;
        loop {
            if let Some(known) = self.upper().known(&path) {
                return Ok(known);
            }
            let found = self.find_dir(name, path.clone())?;
            if let Some(dir) = self.upper().intern(found)? {
                return Ok(dir);
            }
        }
    }

    fn find_dir(&self, name: &[u8], path: RootedPath) -> Result<Self, SnapshotError> {
        let above = match self.made() {
            Some(fd) => fdio::stat_at(fd, name).at(&path)?.map(|raw| (fd, raw)),
            None => None,
        };
        match above {
            None => {
                let lower = self.find_lower(name, &path)?;
                let lower = lower.ok_or_else(|| errno(Errno::NOENT, &path))??;
                Ok(self.make_child(path, lower, None))
            }
            Some((fd, raw)) if raw.is_dir() => {
                let fd = fdio::open_dir_readable(fd, name).at(&path)?;
                let lower = self.merging_below(name, &fd, &path)?;
                Ok(self.make_child(path, lower, Some(fd)))
            }
            Some((_, raw)) if raw.is_whiteout() => Err(errno(Errno::NOENT, &path)),
            Some(_) => Err(errno(Errno::NOTDIR, &path)),
        }
    }

    /// Says whether it is still true that the directory is not in the upper, if it was found so.
    pub(super) fn is_current(&self) -> Result<bool, SnapshotError> {
        match (self.made(), self.parent().and_then(Self::made)) {
            (None, Some(above)) => {
                let name = self.path().file_name().unwrap_or_default();
                Ok(fdio::stat_at(above, name).at(self.path())?.is_none())
            }
            _ => Ok(true),
        }
    }

    /// Looks for directories of sealed layers at `name`: none at all, something else (an inner
    /// `ENOTDIR`), or those that merge.
    #[expect(clippy::type_complexity, reason = "three outcomes, used twice")]
    fn find_lower(
        &self,
        name: &[u8],
        path: &RootedPath,
    ) -> Result<Option<Result<Arc<[Part]>, SnapshotError>>, SnapshotError> {
        Ok(match find(&self.0.lower, name).at(path)? {
            None => None,
            Some(Found::Directory(parts)) => Some(Ok(parts.into())),
            Some(Found::Other { .. }) => Some(Err(errno(Errno::NOTDIR, path))),
        })
    }

    /// Returns the sealed directories that merge with `fd`, which is `name` in the upper.
    fn merging_below(
        &self,
        name: &[u8],
        fd: &OwnedFd,
        path: &RootedPath,
    ) -> Result<Arc<[Part]>, SnapshotError> {
        if self.0.lower.is_empty() {
            return Ok(Arc::new([]));
        }
        if is_opaque(fd, self.upper().store().namespace()).at(path)? {
            return Ok(Arc::new([]));
        }
        match self.find_lower(name, path)? {
            Some(Ok(parts)) => Ok(parts),
            _ => Ok(Arc::new([])),
        }
    }

    /// Returns the directory in the upper, copying it and its parents up if they are not there.
    pub(super) fn ensure(&self) -> Result<&Arc<OwnedFd>, SnapshotError> {
        if let Some(fd) = self.made() {
            return Ok(fd);
        }
        let parent = self.parent().expect("the root is always in the upper");
        let above = parent.ensure()?;
        // The parent's, not this one's: what is made beside would change its time meanwhile.
        let making = parent.0.making.lock();
        let _making = making.unwrap_or_else(PoisonError::into_inner);
        if let Some(fd) = self.made() {
            return Ok(fd);
        }
        let fd = self.copy_up(above)?;
        Ok(self.0.made.get_or_init(|| Arc::new(fd)))
    }

    /// Makes the directory in the upper with the metadata that the lower shows.
    fn copy_up(&self, above: &OwnedFd) -> Result<OwnedFd, SnapshotError> {
        let path = self.path();
        self.upper().check_unsealed(path)?;
        let name = path.file_name().expect("the root is always in the upper");
        let Some(top) = self.0.lower.first() else {
            return Err(errno(Errno::NOENT, path));
        };
        // The directory above did not change in the view, so its time must not either.
        let above_mtime_ns = fdio::stat_fd(above).at(path)?.mtime_ns();
        let to = At { dir: above, name };
        let fd = copy_dir(&top.fd, to, self.upper().store().format()).at(path)?;
        metadata::set_mtime(above, above_mtime_ns).at(path)?;
        Ok(fd)
    }
}

#[cfg(test)]
mod tests {
    use lamina_types::CancelToken;

    use super::*;
    use crate::LayerStack;
    use crate::SnapshotStore;
    use crate::XattrNamespace;

    #[test]
    fn what_was_copied_up_while_it_was_looked_for_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(&folder.path().join("layers"), XattrNamespace::User);
        let store = store.unwrap();
        let lower = store.prepare(&LayerStack::empty()).unwrap();
        let dir = lower.writer().root().unwrap().make_dir(b"dir", 0o755);
        drop(dir.unwrap());
        let stack = LayerStack::new([lower.commit(&CancelToken::new()).unwrap()]);
        let active = store.prepare(&stack).unwrap();
        let (upper, path) = (active.writer(), RootedPath::new("/dir"));
        let root = upper.root().unwrap();
        let found = root.find_dir(b"dir", path).unwrap();
        let other = root.open_dir(b"dir").unwrap();
        drop(other.create_file(b"of another", 0o644).unwrap());
        drop(other);
        assert!(upper.intern(found).unwrap().is_none());
        let dir = root.open_dir(b"dir").unwrap();
        assert!(dir.lookup(b"of another").unwrap().is_some());
        drop(dir.create_file(b"ours", 0o644).unwrap());
        let names = active.tree().root().unwrap().child(b"dir").unwrap();
        assert_eq!(names.read_dir().unwrap().len(), 2);
    }
}
