//! Missing directories made on the way to somewhere (rows FIL-13, FIL-21).

use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::WriteDir;
use lamina_types::RootedPath;
use rustix::io::Errno;

use crate::FileOpError;
use crate::inherit::Inherited;
use crate::target::Target;
use crate::target::failed;

/// Makes missing directories and gives each the same mode, owner and time, but for what it inherits.
pub(crate) struct DirectoryMaker {
    pub(crate) mode: u32,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) timestamp: Option<i64>,
    made: Vec<WriteDir>,
}

/// The error for something at `path` that is no directory; who looks for `below` it sees it first.
fn in_the_way(path: &RootedPath, below: Option<&[u8]>) -> FileOpError {
    match below {
        Some(name) => FileOpError::system("lstat", path.join(name), Errno::NOTDIR),
        None => FileOpError::system("mkdir", path, Errno::NOTDIR),
    }
}

impl DirectoryMaker {
    pub(crate) fn new(mode: u32, owner: Option<(u32, u32)>, timestamp: Option<i64>) -> Self {
        Self {
            mode,
            owner,
            timestamp,
            made: Vec::new(),
        }
    }

    /// Makes `path`, which is resolved, and all missing above it.
    pub(crate) fn make_all(
        &mut self,
        target: &Target,
        path: &RootedPath,
    ) -> Result<WriteDir, FileOpError> {
        let mut dir = target.upper.root()?;
        let mut reached = RootedPath::root();
        let mut components = path.components().peekable();
        while let Some(name) = components.next() {
            reached = reached.join(name);
            let failed = failed("mkdir", &reached);
            dir = match dir.lookup(name).map_err(&failed)? {
                Some(entry) if entry.stat().is_dir() => dir.open_dir(name).map_err(&failed)?,
                Some(_) => return Err(in_the_way(&reached, components.peek().copied())),
                None => self.make(&dir, name).map_err(&failed)?,
            };
        }
        Ok(dir)
    }

    /// Makes `name`, which does not exist, in `parent`.
    pub(crate) fn make(
        &mut self,
        parent: &WriteDir,
        name: &[u8],
    ) -> Result<WriteDir, lamina_snapshotter::SnapshotError> {
        let inherited = Inherited::from(parent)?;
        let dir = parent.make_dir(name, self.mode)?;
        dir.set_own_metadata(&MetadataChange {
            owner: inherited.owner(self.owner),
            mode: Some(inherited.directory_mode(self.mode)),
            ..MetadataChange::default()
        })?;
        self.made.push(dir.clone());
        Ok(dir)
    }

    /// Sets the times, innermost first, once nothing more is made inside.
    pub(crate) fn finish(self) -> Result<(), FileOpError> {
        let Some(timestamp) = self.timestamp else {
            return Ok(());
        };
        for dir in self.made.iter().rev() {
            dir.set_own_metadata(&MetadataChange {
                mtime_ns: Some(timestamp.into()),
                ..MetadataChange::default()
            })?;
        }
        Ok(())
    }
}
