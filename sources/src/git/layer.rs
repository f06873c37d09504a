//! From a checkout to a layer (rows SRC-16, SRC-22).
//!
//! What git wrote is input: a repository can hold symlinks to anywhere. Directories are opened one
//! by one and links are never followed, so neither the directory that a build asks for nor what is
//! copied from it can be outside the checkout (CVE-2026-33748).

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use lamina_session::LocalRequest;
use lamina_session::host;
use lamina_session::host::HostEntry;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::SnapshotStore;
use lamina_types::CancelToken;
use lamina_types::IoContext;
use lamina_types::PathError;
use rustix::fs::AtFlags;

use super::GitError;
use super::GitWish;
use super::store::Scratch;
use crate::SourceError;
use crate::local;
use crate::report::Action;

const GIT_DIR: &[u8] = b".git";
const SECOND_NS: i128 = 1_000_000_000;

/// A finished checkout on its way into the store.
pub(super) struct Import {
    pub(super) store: SnapshotStore,
    pub(super) wish: GitWish,
    /// Where the files are.
    pub(super) files: PathBuf,
    /// The time for all files, in seconds since 1970; else they keep their own.
    pub(super) time: Option<i64>,
    /// Holds the files; deleted in the end.
    pub(super) scratch: Scratch,
    pub(super) action: Action,
}

impl Import {
    /// Returns the layer with the files, owned by 0:0.
    ///
    /// # Errors
    /// [`GitError::Subdir`]; I/O errors; cancellation.
    pub(super) fn run(self, cancel: &CancelToken) -> Result<Layer, SourceError> {
        let root = self.root()?;
        let mut entries = self.entries(&root, cancel)?;
        if let Some(time) = self.time {
            set_times(&root, &entries, i128::from(time) * SECOND_NS)?;
            entries = self.entries(&root, cancel)?;
        }
        let mut active = self.store.prepare(&LayerStack::empty())?;
        active.describe(self.wish.description());
        local::copy_all(&root, &entries, active.writer(), &self.action, cancel)?;
        if let Some(time) = self.time {
            let change = MetadataChange {
                mtime_ns: Some(i128::from(time) * SECOND_NS),
                ..MetadataChange::default()
            };
            active.writer().root()?.set_own_metadata(&change)?;
        }
        let layer = active.commit(cancel)?;
        self.action.finish();
        drop(self.scratch);
        Ok(layer)
    }

    /// Lists what goes into the layer.
    fn entries(&self, root: &OwnedFd, cancel: &CancelToken) -> Result<Vec<HostEntry>, SourceError> {
        let mut entries = host::list(root, &LocalRequest::default(), cancel)?;
        if !self.wish.has_git_dir() {
            // Also those of submodules, which name places on this host.
            entries.retain(|entry| !is_of_git(&entry.path));
        }
        Ok(entries)
    }

    /// Opens the directory that the build wants.
    fn root(&self) -> Result<OwnedFd, SourceError> {
        let mut dir = host::open_root(&self.files).at(self.files.display())?;
        let names = self.wish.subdir.split('/').filter(|name| !name.is_empty());
        for name in names {
            dir = self.enter(&dir, name)?;
        }
        Ok(dir)
    }

    fn enter(&self, dir: &OwnedFd, name: &str) -> Result<OwnedFd, GitError> {
        let wrong = |reason: String| GitError::Subdir {
            subdir: self.wish.subdir.clone(),
            remote: self.wish.remote.clone(),
            reason,
        };
        if name.as_bytes() == GIT_DIR {
            return Err(wrong(format!("{name:?} is not part of the repository")));
        }
        let found = host::look(dir, name.as_bytes());
        let found = found.map_err(|error| wrong(format!("{name:?}: {error}")))?;
        if found.kind != lamina_types::FileKind::Directory {
            return Err(wrong(format!("{name:?} is no directory")));
        }
        host::open_dir(dir, name.as_bytes()).map_err(|error| wrong(format!("{name:?}: {error}")))
    }
}

/// Git checks nothing out under that name, so all that has it is git's own.
fn is_of_git(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|name| name == GIT_DIR)
}

/// Gives all entries one time.
fn set_times(root: &OwnedFd, entries: &[HostEntry], time_ns: i128) -> Result<(), PathError> {
    let times = host::timestamps(time_ns);
    for entry in entries {
        let (folder, name) = entry.split();
        let dir = host::open_below(root, folder).at(entry.shown())?;
        let set = rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW);
        set.at(entry.shown())?;
    }
    Ok(())
}
