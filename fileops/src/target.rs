//! The layer that actions write to, and errors that name what was tried.

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Entry;
use lamina_snapshotter::Follow;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::Tree;
use lamina_snapshotter::Upper;
use lamina_snapshotter::WriteDir;
use lamina_types::PathError;
use lamina_types::RootedPath;
use rustix::io::Errno;

use crate::FileOpError;

/// The layer that actions write to, read and written through one pair of handles.
pub(crate) struct Target {
    pub(crate) upper: Upper,
    pub(crate) tree: Tree,
}

impl Target {
    pub(crate) fn new(layer: &ActiveLayer) -> Self {
        Self {
            upper: layer.writer(),
            tree: layer.tree(),
        }
    }

    /// Returns where `path` leads with all symlinks followed; what does not exist is kept.
    pub(crate) fn resolve(&self, path: &RootedPath) -> Result<RootedPath, FileOpError> {
        Ok(self.tree.resolve(path, Follow::Last)?)
    }

    /// Returns what is at the resolved `path`, if there is anything; below a file there is nothing.
    pub(crate) fn find(&self, path: &RootedPath) -> Result<Option<Entry>, FileOpError> {
        match self.tree.lookup(path, Follow::Parents) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if error.is_not_found() || errno(&error) == Some(Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Resolves `text` and splits it into an existing directory and a name in it.
    ///
    /// `at_root` is the error for the root itself, which has no name.
    pub(crate) fn place(
        &self,
        text: &[u8],
        operation: &'static str,
        at_root: Errno,
    ) -> Result<Place, FileOpError> {
        let path = self.resolve(&RootedPath::new(text))?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(FileOpError::system(operation, &path, at_root));
        };
        let dir = self.upper.dir(&parent).map_err(failed(operation, &path))?;
        let name = name.to_vec();
        Ok(Place { dir, name, path })
    }
}

/// A name in an existing directory.
pub(crate) struct Place {
    pub(crate) dir: WriteDir,
    pub(crate) name: Vec<u8>,
    pub(crate) path: RootedPath,
}

/// Returns a function that words an error of the snapshotter as `operation` failing at `path`.
pub(crate) fn failed(
    operation: &'static str,
    path: &RootedPath,
) -> impl Fn(SnapshotError) -> FileOpError {
    let path = path.to_string();
    move |error| match error {
        SnapshotError::Io(PathError { source, .. }) => FileOpError::Io {
            operation,
            source: PathError {
                path: path.clone(),
                source,
            },
        },
        other => other.into(),
    }
}

/// Returns the number of the system's error behind `error`.
pub(crate) fn errno(error: &SnapshotError) -> Option<Errno> {
    error.errno().map(Errno::from_raw_os_error)
}
