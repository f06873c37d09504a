//! Hiding what lower layers have, without removing anything of this one.

use std::collections::HashSet;

use lamina_types::IoContext;
use rustix::io::Errno;

use super::WriteDir;
use super::create::make_whiteout;
use crate::SnapshotError;
use crate::fdio;
use crate::tree::read_merged;
use crate::xattrs::Target;

impl WriteDir {
    /// Hides all that the lower layers have in this directory; what this layer has in it stays.
    ///
    /// Returns the directory to go on with: this one still shows the lower layers.
    ///
    /// # Errors
    /// What the host's file system says.
    pub fn hide_lower(&self) -> Result<Self, SnapshotError> {
        let path = self.path();
        self.upper().check_unsealed(path)?;
        if self.0.lower.is_empty() {
            return Ok(self.clone());
        }
        let Some(parent) = self.parent() else {
            self.hide_names()?;
            return Ok(self.clone());
        };
        let fd = self.ensure()?;
        let opaque = self.upper().store().namespace().opaque();
        Target::opened(fd).set(opaque.as_bytes(), b"y").at(path)?;
        self.upper().forget(path);
        parent.adopt_new(path.clone(), fd.try_clone().at(path)?)
    }

    /// Hides name by name, for the root: overlayfs has no opaque root.
    fn hide_names(&self) -> Result<(), SnapshotError> {
        let path = self.path();
        let fd = self.ensure()?;
        let raw = fdio::read_names(fd).at(path)?;
        let ours: HashSet<Vec<u8>> = raw.into_iter().map(|raw| raw.name).collect();
        for name in read_merged(&self.0.lower).at(path)? {
            if !ours.contains(&name) {
                make_whiteout(fd, &name).at(path)?;
                continue;
            }
            match self.open_dir(&name) {
                Ok(dir) => drop(dir.hide_lower()?),
                Err(error) if is_no_directory(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_no_directory(error: &SnapshotError) -> bool {
    let number = error.errno();
    number == Some(Errno::NOTDIR.raw_os_error()) || number == Some(Errno::NOENT.raw_os_error())
}
