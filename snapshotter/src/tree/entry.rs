//! What a look-up found.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lamina_types::CancelToken;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::LayerId;
use lamina_types::RootedPath;
use lamina_types::Stat;
use rustix::io::Errno;

use super::Found;
use super::Part;
use super::Shown;
use super::Tree;
use super::find;
use super::listing::read_merged_kinds_while;
use super::read_merged;
use crate::SnapshotError;
use crate::error::errno;
use crate::fdio;
use crate::metadata;

/// Something found in a tree: its resolved path, its metadata, and for directories all that merges
/// there. Cheap to clone.
#[derive(Clone)]
pub struct Entry(Arc<EntryInner>);

struct EntryInner {
    tree: Tree,
    path: RootedPath,
    stat: Stat,
    origin: Origin,
    place: Place,
}

enum Place {
    /// The directories that merge here, topmost first; none in the view of no layers.
    Directory(Arc<[Part]>),
    /// The directory that holds it, and its name there.
    Other(Part, Vec<u8>),
}

/// Where a file really is: for copy by link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Origin {
    /// Device number of the host's file system.
    pub device: u64,
    /// Inode number there.
    pub inode: u64,
    /// The sealed layer that holds it; `None` for the active layer of the view.
    pub layer: Option<LayerId>,
}

impl Entry {
    /// Makes the entry of merged directories.
    pub(crate) fn directory(
        tree: &Tree,
        path: RootedPath,
        parts: Arc<[Part]>,
    ) -> Result<Self, SnapshotError> {
        let (stat, origin) = match parts.first() {
            Some(top) => {
                let (raw, stat) = metadata::stat_of_opened(top.owners, &*top.fd).at(&path)?;
                (stat, Origin::new(&raw, top))
            }
            None => (metadata::default_directory(), Origin::nowhere()),
        };
        Ok(Self(Arc::new(EntryInner {
            tree: tree.clone(),
            path,
            stat,
            origin,
            place: Place::Directory(parts),
        })))
    }

    /// Makes the entry of what [`find`] found in the directory `parent` of `tree`.
    pub(crate) fn from_found(
        tree: &Tree,
        parent: &RootedPath,
        name: &[u8],
        found: Found,
    ) -> Result<Self, SnapshotError> {
        let path = parent.join(name);
        let (part, raw) = match found {
            Found::Directory(parts) => return Self::directory(tree, path, parts.into()),
            Found::Other { part, raw } => (part, raw),
        };
        let stat = metadata::stat_of_name(part.owners, &*part.fd, name, &raw).at(&path)?;
        Ok(Self(Arc::new(EntryInner {
            tree: tree.clone(),
            path,
            stat,
            origin: Origin::new(&raw, &part),
            place: Place::Other(part, name.to_vec()),
        })))
    }

    /// Returns the path of the entry, with every symlink on the way resolved.
    #[must_use]
    pub fn path(&self) -> &RootedPath {
        &self.0.path
    }

    /// Returns the metadata as it was when the entry was looked up.
    #[must_use]
    pub fn stat(&self) -> &Stat {
        &self.0.stat
    }

    /// Returns the host's device and inode and the layer that holds the entry.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// Says whether this may be a file that has another name in its layer.
    #[must_use]
    pub fn may_have_further_names(&self) -> bool {
        match &self.0.place {
            Place::Directory(_) => false,
            Place::Other(part, _) => {
                let stat = &self.0.stat;
                // Links into other layers count as names too, so the number alone says little.
                stat.kind == FileKind::File && stat.nlink > 1 && !part.has_single_names()
            }
        }
    }

    /// Returns the directories that merge here, topmost first.
    ///
    /// # Errors
    /// `ENOTDIR` if this is not a directory.
    pub(crate) fn parts(&self) -> Result<&Arc<[Part]>, SnapshotError> {
        match &self.0.place {
            Place::Directory(parts) => Ok(parts),
            Place::Other(..) => Err(errno(Errno::NOTDIR, &self.0.path)),
        }
    }

    /// Returns the directory that holds this entry, and its name there.
    ///
    /// # Errors
    /// `EISDIR` if this is a directory.
    pub(crate) fn holder(&self) -> Result<(&Part, &[u8]), SnapshotError> {
        match &self.0.place {
            Place::Directory(_) => Err(errno(Errno::ISDIR, &self.0.path)),
            Place::Other(part, name) => Ok((part, name)),
        }
    }

    /// Says whether the same sealed layers merge here and in `other`, which is a directory at the same
    /// path: then all below is the same.
    ///
    /// # Errors
    /// `ENOTDIR` if one of them is not a directory.
    pub(crate) fn merges_same_layers(&self, other: &Self) -> Result<bool, SnapshotError> {
        let ids = |parts: &[Part]| parts.iter().map(Part::layer).collect::<Option<Vec<_>>>();
        let (ours, theirs) = (ids(self.parts()?), ids(other.parts()?));
        Ok(ours.is_some() && ours == theirs)
    }

    /// Returns the names of the children, sorted, with deletions applied.
    ///
    /// # Errors
    /// `ENOTDIR`, or what the host's file system says.
    pub fn read_dir(&self) -> Result<Vec<Vec<u8>>, SnapshotError> {
        Ok(read_merged(self.parts()?).at(&self.0.path)?)
    }

    /// As [`Entry::read_dir`], for directories of any size: looks at `cancel` every few milliseconds.
    ///
    /// # Errors
    /// As [`Entry::read_dir`]; [`SnapshotError::Cancelled`].
    pub fn read_dir_while(&self, cancel: &CancelToken) -> Result<Vec<Vec<u8>>, SnapshotError> {
        let shown = self.shown_while(cancel)?;
        Ok(shown.into_iter().map(|shown| shown.name).collect())
    }

    /// As [`Entry::read_dir_while`], with what and where the names are.
    pub(crate) fn shown_while(&self, cancel: &CancelToken) -> Result<Vec<Shown>, SnapshotError> {
        shown_while(self.parts()?, &self.0.path, cancel)
    }

    /// Returns the child of that name, not following it.
    ///
    /// # Errors
    /// `ENOENT` if there is none, `ENOTDIR` if this is not a directory, [`SnapshotError::BadName`]
    /// if `name` is not a single component.
    pub fn child(&self, name: &[u8]) -> Result<Self, SnapshotError> {
        let found = self.find_child(name)?;
        found.ok_or_else(|| errno(Errno::NOENT, self.0.path.join(name)))
    }

    /// As [`Entry::child`], with `None` where there is none.
    pub(crate) fn find_child(&self, name: &[u8]) -> Result<Option<Self>, SnapshotError> {
        Self::find_in(&self.0.tree, &self.0.path, self.parts()?, name)
    }

    /// Looks for `name` in the directory `path` of `tree`, where `parts` merge.
    pub(super) fn find_in(
        tree: &Tree,
        path: &RootedPath,
        parts: &[Part],
        name: &[u8],
    ) -> Result<Option<Self>, SnapshotError> {
        if !fdio::is_plain_name(name) {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(SnapshotError::BadName { name });
        }
        match find(parts, name).at(path)? {
            Some(found) => Self::from_found(tree, path, name, found).map(Some),
            None => Ok(None),
        }
    }

    /// Opens the data of a regular file for reading.
    ///
    /// # Errors
    /// [`SnapshotError::NotRegular`] for anything else; no fifo or device is ever opened.
    pub fn open(&self) -> Result<File, SnapshotError> {
        let not_regular = || SnapshotError::NotRegular {
            path: self.0.path.clone(),
        };
        let Place::Other(part, name) = &self.0.place else {
            return Err(not_regular());
        };
        if self.0.stat.kind != FileKind::File {
            return Err(not_regular());
        }
        let fd = fdio::open_data(&part.fd, name).at(&self.0.path)?;
        if part.layer().is_some() {
            // What is sealed stays what it was when it was looked up.
            return Ok(File::from(fd));
        }
        match fdio::stat_fd(&fd).at(&self.0.path)?.kind() {
            FileKind::File => Ok(File::from(fd)),
            _ => Err(not_regular()),
        }
    }

    /// Returns an `O_PATH` descriptor of the entry itself, in the layer where it lives: for `linkat`
    /// and for mounts. Of merged directories it is the topmost one.
    ///
    /// # Errors
    /// `ENOENT` for the root of the view of no layers, which is nowhere.
    pub fn path_fd(&self) -> Result<OwnedFd, SnapshotError> {
        let opened = match &self.0.place {
            Place::Directory(parts) => match parts.first() {
                Some(top) => fdio::open_dir(&top.fd, b"."),
                None => Err(Errno::NOENT),
            },
            Place::Other(part, name) => fdio::open_path(&part.fd, name),
        };
        Ok(opened.at(&self.0.path)?)
    }
}

/// Lists what `parts` show together at `path`.
pub(crate) fn shown_while(
    parts: &[Part],
    path: &RootedPath,
    cancel: &CancelToken,
) -> Result<Vec<Shown>, SnapshotError> {
    let go_on = || cancel.check().map_err(|_| Errno::CANCELED);
    let shown = read_merged_kinds_while(parts, &go_on);
    cancel.check()?;
    Ok(shown.at(path)?)
}

impl Origin {
    fn new(raw: &fdio::RawStat, part: &Part) -> Self {
        Self {
            device: raw.device(),
            inode: raw.inode(),
            layer: part.layer(),
        }
    }

    fn nowhere() -> Self {
        Self {
            device: 0,
            inode: 0,
            layer: None,
        }
    }
}
