//! The changes of one layer, for exports.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use lamina_types::Stat;
use rustix::io::Errno;

use crate::SnapshotError;
use crate::error::errno;
use crate::fdio;
use crate::metadata;
use crate::store::Layer;

/// One entry of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it is.
    pub path: RootedPath,
    /// What the layer says of it.
    pub kind: ChangeKind,
}

/// What a layer says of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The name is deleted.
    Whiteout,
    /// First name of an inode in this layer, or a directory.
    Entry {
        /// The metadata.
        stat: Stat,
        /// A directory that is there only because something below it changed.
        implied_parent: bool,
    },
    /// A further name of an inode.
    HardLink {
        /// The first name in this layer.
        first: RootedPath,
        /// The metadata, equal to that of the first name.
        stat: Stat,
    },
}

/// Iterates over the changes of a layer: a directory comes before what is in it, names in byte order.
///
/// The root comes first and is an implied parent unless the layer changed it. Names are hard links of
/// each other only within the layer: an inode that is shared with another layer is a file like others.
pub struct Changes {
    layer: Layer,
    root: Arc<OwnedFd>,
    implied: BTreeSet<RootedPath>,
    first_names: HashMap<u64, RootedPath>,
    levels: Vec<Level>,
    started: bool,
}

/// A directory under way.
struct Level {
    dir: Arc<OwnedFd>,
    path: RootedPath,
    /// Names left, last first.
    names: Vec<Vec<u8>>,
}

impl Changes {
    pub(crate) fn of(layer: &Layer) -> Result<Self, SnapshotError> {
        Ok(Self {
            layer: layer.clone(),
            root: layer.open_fs()?,
            implied: layer.implied_parents(),
            first_names: HashMap::new(),
            levels: Vec::new(),
            started: false,
        })
    }

    /// Opens the data of the regular file at `path` of this layer.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`; [`SnapshotError::NotRegular`] for anything but a regular file.
    pub fn open(&self, path: &RootedPath) -> Result<File, SnapshotError> {
        let not_regular = || SnapshotError::NotRegular { path: path.clone() };
        let name = path.file_name().ok_or_else(not_regular)?;
        let mut dir = Arc::clone(&self.root);
        if let Some(parent) = path.parent() {
            for component in parent.components() {
                dir = Arc::new(fdio::open_dir(&dir, component).at(path)?);
            }
        }
        let raw = self.layer.owners().stat_at(&*dir, name).at(path)?;
        match raw.map(|raw| raw.kind()) {
            Some(FileKind::File) => Ok(File::from(fdio::open_data(&dir, name).at(path)?)),
            Some(_) => Err(not_regular()),
            None => Err(errno(Errno::NOENT, path)),
        }
    }

    /// Returns the layer that this reads.
    #[must_use]
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    fn advance(&mut self) -> Result<Option<Change>, SnapshotError> {
        if !self.started {
            self.started = true;
            return self
                .enter(Arc::clone(&self.root), RootedPath::root())
                .map(Some);
        }
        while let Some(level) = self.levels.last_mut() {
            match level.names.pop() {
                Some(name) => {
                    let (dir, path) = (Arc::clone(&level.dir), level.path.join(&name));
                    return self.visit(&dir, &name, path).map(Some);
                }
                None => drop(self.levels.pop()),
            }
        }
        Ok(None)
    }

    fn visit(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        path: RootedPath,
    ) -> Result<Change, SnapshotError> {
        let raw = fdio::stat_at(dir, name).at(&path)?;
        let raw = raw.ok_or_else(|| errno(Errno::NOENT, &path))?;
        if raw.is_whiteout() {
            let kind = ChangeKind::Whiteout;
            return Ok(Change { path, kind });
        }
        if raw.is_dir() {
            let child = fdio::open_dir(dir, name).at(&path)?;
            return self.enter(Arc::new(child), path);
        }
        let owners = self.layer.owners();
        let raw = owners.truth_of_name(dir, name, raw).at(&path)?;
        let stat = metadata::stat_of_name(owners, dir, name, &raw).at(&path)?;
        if raw.nlink() > 1 {
            if let Some(first) = self.first_names.get(&raw.inode()) {
                let first = first.clone();
                let kind = ChangeKind::HardLink { first, stat };
                return Ok(Change { path, kind });
            }
            self.first_names.insert(raw.inode(), path.clone());
        }
        Ok(Change {
            path,
            kind: ChangeKind::Entry {
                stat,
                implied_parent: false,
            },
        })
    }

    fn enter(&mut self, dir: Arc<OwnedFd>, path: RootedPath) -> Result<Change, SnapshotError> {
        let (_, stat) = metadata::stat_of_opened(self.layer.owners(), &*dir).at(&path)?;
        let raw_names = fdio::read_names(&dir).at(&path)?;
        let mut names: Vec<Vec<u8>> = raw_names.into_iter().map(|raw| raw.name).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        let implied_parent = self.implied.contains(&path);
        self.levels.push(Level {
            dir,
            path: path.clone(),
            names,
        });
        Ok(Change {
            path,
            kind: ChangeKind::Entry {
                stat,
                implied_parent,
            },
        })
    }
}

impl Iterator for Changes {
    type Item = Result<Change, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(change) => change.map(Ok),
            Err(error) => {
                self.levels.clear();
                self.started = true;
                Some(Err(error))
            }
        }
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Changes").field(&self.layer).finish()
    }
}
