//! Removing entries.

use std::os::fd::OwnedFd;

use lamina_types::CancelToken;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use rustix::io::Errno;

use super::WriteDir;
use super::create::make_whiteout;
use crate::SnapshotError;
use crate::error::errno;
use crate::fdio;
use crate::remove;
use crate::tree::find;

impl WriteDir {
    /// Removes `name` and all below it, and leaves a whiteout if a lower layer has it.
    ///
    /// # Errors
    /// `ENOENT` if the view has no such name.
    pub fn remove(&self, name: &[u8]) -> Result<(), SnapshotError> {
        self.remove_while(name, &CancelToken::new())
    }

    /// As [`WriteDir::remove`], for trees of any size: looks at `cancel` for every name.
    ///
    /// # Errors
    /// As [`WriteDir::remove`]; [`SnapshotError::Cancelled`], with part of the tree removed.
    pub fn remove_while(&self, name: &[u8], cancel: &CancelToken) -> Result<(), SnapshotError> {
        let path = self.check(name)?;
        let above = match self.made() {
            Some(dir) => fdio::stat_at(dir, name).at(&path)?,
            None => None,
        };
        if above.is_some_and(|raw| raw.is_whiteout()) {
            return Err(errno(Errno::NOENT, &path));
        }
        let below = find(&self.0.lower, name).at(&path)?.is_some();
        if above.is_none() && !below {
            return Err(errno(Errno::NOENT, &path));
        }
        let dir = self.ensure()?;
        if above.is_some() {
            let cleared = self.clear_while(dir, name, &path, cancel);
            cancel.check()?;
            cleared?;
        } else if self.upper().knows(&path) {
            self.upper().forget(&path);
        }
        if below {
            make_whiteout(dir, name).at(&path)?;
        }
        Ok(())
    }

    /// Removes whatever the upper has at `name`.
    pub(super) fn clear(
        &self,
        dir: &OwnedFd,
        name: &[u8],
        path: &RootedPath,
    ) -> Result<(), SnapshotError> {
        self.clear_while(dir, name, path, &CancelToken::new())
    }

    fn clear_while(
        &self,
        dir: &OwnedFd,
        name: &[u8],
        path: &RootedPath,
        cancel: &CancelToken,
    ) -> Result<(), SnapshotError> {
        let raw = fdio::stat_at(dir, name).at(path)?;
        match raw {
            Some(raw) if raw.is_dir() => self.upper().written().clear(),
            Some(raw) => self.upper().written().forget(raw.inode()),
            None => {}
        }
        let go_on = || cancel.check().map_err(|_| Errno::CANCELED);
        remove::remove_tree_while(dir, name, &go_on).at(path)?;
        if raw.is_some_and(|raw| raw.is_dir()) || self.upper().knows(path) {
            self.upper().forget(path);
        }
        Ok(())
    }
}
