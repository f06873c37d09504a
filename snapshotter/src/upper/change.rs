//! Changing metadata, and the copies that this needs first.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use lamina_types::Stat;
use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::Upper;
use super::WriteDir;
use super::stage::At;
use super::stage::CopyRules;
use super::stage::copy_entry;
use crate::SnapshotError;
use crate::error::errno;
use crate::fdio;
use crate::fdio::RawStat;
use crate::links::Place;
use crate::metadata;
use crate::metadata::MetadataChange;
use crate::tree::Found;
use crate::tree::find;

impl WriteDir {
    /// Sets what is `Some` in `change`, in the order owner, xattrs, mode, times; copies the entry up
    /// first; never follows it. A file shared with a sealed layer gets a copy of its own first.
    ///
    /// # Errors
    /// `ENOENT`, or what the host's file system says.
    pub fn set_metadata(&self, name: &[u8], change: &MetadataChange) -> Result<(), SnapshotError> {
        let path = self.check(name)?;
        if change.is_empty() {
            return Ok(());
        }
        let Some(raw) = self.bring_up(name, &path)? else {
            return self.open_dir(name)?.set_own_metadata(change);
        };
        let fd = fdio::open_path(self.ensure()?, name).at(&path)?;
        self.apply(&fd, raw.kind(), change, &path)
    }

    /// As [`WriteDir::set_metadata`], for a file that [`WriteDir::create_file`] of this layer returned:
    /// saves the look-up.
    ///
    /// # Errors
    /// What the host's file system says.
    pub fn set_file_metadata(
        &self,
        file: &File,
        change: &MetadataChange,
    ) -> Result<(), SnapshotError> {
        self.upper().check_unsealed(self.path())?;
        self.apply(file, FileKind::File, change, self.path())
    }

    /// Sets what is `Some` in `change` on this directory itself.
    ///
    /// # Errors
    /// What the host's file system says.
    pub fn set_own_metadata(&self, change: &MetadataChange) -> Result<(), SnapshotError> {
        let path = self.path();
        self.upper().check_unsealed(path)?;
        if change.is_empty() {
            return Ok(());
        }
        let fd = self.ensure()?;
        self.upper().mark_explicit(path);
        self.apply(fd, FileKind::Directory, change, path)
    }

    /// Gives this directory the metadata of `stat` as one that is only passed through.
    pub(crate) fn imply(&self, stat: &Stat) -> Result<(), SnapshotError> {
        let path = self.path();
        self.upper().mark_implied(path);
        let change = MetadataChange::all_of(stat);
        self.apply(self.ensure()?, FileKind::Directory, &change, path)
    }

    fn apply(
        &self,
        fd: &impl AsFd,
        kind: FileKind,
        change: &MetadataChange,
        path: &RootedPath,
    ) -> Result<(), SnapshotError> {
        let owners = self.upper().owners();
        let applied = metadata::apply(owners, fd, kind, change);
        if let (Err(Errno::INVAL), Some((uid, gid))) = (applied, change.owner) {
            let only_owner = MetadataChange {
                owner: change.owner,
                ..MetadataChange::default()
            };
            // So the kernel says that an id is not mapped; of attributes it says the same for other
            // reasons.
            if owners.change(fd, kind, &only_owner) == Err(Errno::INVAL) {
                let path = path.clone();
                return Err(SnapshotError::Owner { path, uid, gid });
            }
        }
        Ok(applied.at(path)?)
    }

    /// Sets the modification time of this directory without saying that the layer is about it: after
    /// its content was changed, for views that should not show when.
    ///
    /// # Errors
    /// What the host's file system says.
    pub fn restore_own_mtime(&self, mtime_ns: i128) -> Result<(), SnapshotError> {
        self.upper().check_unsealed(self.path())?;
        Ok(metadata::set_mtime(self.ensure()?, mtime_ns).at(self.path())?)
    }

    /// Makes sure that `name` is in the upper and shared with no sealed layer; `None` if it is a
    /// directory.
    fn bring_up(&self, name: &[u8], path: &RootedPath) -> Result<Option<RawStat>, SnapshotError> {
        let above = match self.made() {
            Some(dir) => fdio::stat_at(dir, name).at(path)?,
            None => None,
        };
        match above {
            Some(raw) if raw.is_whiteout() => Err(errno(Errno::NOENT, path)),
            Some(raw) if raw.is_dir() => Ok(None),
            Some(raw) => {
                self.upper().written().forget(raw.inode());
                let place = (self.path().clone(), name.to_vec());
                self.upper().break_link(raw.inode(), place)?;
                Ok(Some(raw))
            }
            None => match find(&self.0.lower, name).at(path)? {
                None => Err(errno(Errno::NOENT, path)),
                Some(Found::Directory(_)) => Ok(None),
                Some(Found::Other { part, raw }) => {
                    let dir = self.ensure()?;
                    let staged = self.upper().stage_copy(&part.fd, name, &raw, path)?;
                    self.upper().move_staged(&staged, dir, name, path)?;
                    Ok(Some(raw))
                }
            },
        }
    }
}

impl Upper {
    /// Gives the names of a sealed layer's inode a copy of their own; `place` is one of them.
    fn break_link(&self, inode: u64, place: Place) -> Result<(), SnapshotError> {
        let Some(mut places) = self.links().take(inode) else {
            return Ok(());
        };
        let path = place.0.join(&place.1);
        if places.is_empty() {
            places.push(place);
        }
        let still = |(dir, name): &Place| {
            let dir = Arc::clone(self.dir(dir).ok()?.ensure().ok()?);
            let raw = self.owners().stat_at(&*dir, name).ok().flatten();
            raw.filter(|raw| raw.inode() == inode).map(|raw| (dir, raw))
        };
        let mut names = places
            .iter()
            .filter_map(|place| still(place).map(|(dir, raw)| (dir, &place.1, raw)));
        let Some((dir, name, raw)) = names.next() else {
            return Ok(());
        };
        let staged = self.stage_copy(&dir, name, &raw, &path)?;
        for (other_dir, other_name, _) in names {
            let again = self.staged_name();
            let flags = AtFlags::empty();
            rustix::fs::linkat(&self.0.staging, &staged, &self.0.staging, &again, flags)
                .at(&path)?;
            self.move_staged(&again, &other_dir, other_name, &path)?;
        }
        self.move_staged(&staged, &dir, name, &path)
    }

    /// Ends all sharing with sealed layers, before something writes to files in place.
    pub(crate) fn break_all_links(&self) -> Result<(), SnapshotError> {
        self.written().clear();
        let mut left = vec![RootedPath::root()];
        while let Some(path) = left.pop() {
            if self.links().is_empty() {
                break;
            }
            let dir = self.dir(&path)?;
            let Some(fd) = dir.made() else { continue };
            for raw in fdio::read_names(fd).at(&path)? {
                if raw.hint == FileType::Directory {
                    left.push(path.join(&raw.name));
                } else if self.links().is_shared(raw.inode) {
                    self.break_link(raw.inode, (path.clone(), raw.name))?;
                }
            }
        }
        Ok(())
    }

    fn staged_name(&self) -> String {
        format!("new-{}", self.0.staged.fetch_add(1, Ordering::Relaxed))
    }

    /// Copies `name`, which is not a directory, with all its metadata to the staging place.
    fn stage_copy(
        &self,
        dir: &OwnedFd,
        name: &[u8],
        raw: &RawStat,
        path: &RootedPath,
    ) -> Result<String, SnapshotError> {
        let staged = self.staged_name();
        let to = At {
            dir: &self.0.staging,
            name: staged.as_bytes(),
        };
        let rules = CopyRules {
            format: self.store().format(),
            data: true,
            go_on: &|| Ok(()),
        };
        copy_entry(At { dir, name }, raw, to, &rules).at(path)?;
        Ok(staged)
    }

    fn move_staged(
        &self,
        staged: &str,
        dir: &OwnedFd,
        name: &[u8],
        path: &RootedPath,
    ) -> Result<(), SnapshotError> {
        Ok(rustix::fs::renameat(&self.0.staging, staged, dir, name).at(path)?)
    }
}
