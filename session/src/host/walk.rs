//! Listing what a transfer is about.
//!
//! Directories are read in parallel; the result is in path order (a directory before its content,
//! names in byte order), so everything that follows is the same for any number of threads.

use std::os::fd::OwnedFd;

use lamina_types::CancelToken;
use lamina_types::FileKind;
use lamina_types::IoContext;
use rayon::prelude::*;
use rustix::io::Errno;

use super as host;
use super::Fingerprint;
use super::filter::Filter;
use super::filter::Parents;
use crate::SessionError;

/// One file of the transfer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostEntry {
    /// Relative to the directory, without a leading slash.
    pub path: Vec<u8>,
    /// What was seen of it.
    pub fingerprint: Fingerprint,
}

impl HostEntry {
    /// Splits the path into directory and name; the directory of a top-level name is empty.
    #[must_use]
    pub fn split(&self) -> (&[u8], &[u8]) {
        host::split(&self.path)
    }

    /// Returns what it is.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        self.fingerprint.kind
    }

    /// Returns the path for messages.
    #[must_use]
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// Lists what `filter` lets through below `root`.
pub(super) fn walk(
    root: &OwnedFd,
    filter: &Filter,
    cancel: &CancelToken,
) -> Result<Vec<HostEntry>, SessionError> {
    let walk = Walk { filter, cancel };
    walk.directory(root, b"", &Parents::default())
}

struct Walk<'a> {
    filter: &'a Filter,
    cancel: &'a CancelToken,
}

impl Walk<'_> {
    fn directory(
        &self,
        dir: &OwnedFd,
        path: &[u8],
        parents: &Parents,
    ) -> Result<Vec<HostEntry>, SessionError> {
        self.cancel.check()?;
        let names = host::names(dir).at(String::from_utf8_lossy(path))?;
        let parts: Vec<Vec<HostEntry>> = names
            .into_par_iter()
            .map(|name| self.entry(dir, path, &name, parents))
            .collect::<Result<_, _>>()?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Returns an entry with all that is below it.
    fn entry(
        &self,
        dir: &OwnedFd,
        parent: &[u8],
        name: &[u8],
        parents: &Parents,
    ) -> Result<Vec<HostEntry>, SessionError> {
        let mut path = parent.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let verdict = self.filter.decide(&path, parents);
        if !verdict.taken && !verdict.enter {
            return Ok(Vec::new());
        }
        let fingerprint = match host::look(dir, name) {
            Err(error) if host::is_gone(error) => return Ok(Vec::new()),
            found => found.at(String::from_utf8_lossy(&path))?,
        };
        let entry = HostEntry { path, fingerprint };
        if fingerprint.kind != FileKind::Directory {
            let wanted = verdict.taken && fingerprint.kind != FileKind::Socket;
            return Ok(wanted.then_some(entry).into_iter().collect());
        }
        let below = if verdict.enter {
            self.enter(dir, &entry, verdict.taken, &verdict.parents)?
        } else {
            Vec::new()
        };
        if !verdict.taken && below.is_empty() {
            return Ok(Vec::new());
        }
        let mut all = Vec::with_capacity(below.len() + 1);
        all.push(entry);
        all.extend(below);
        Ok(all)
    }

    /// A directory that is not wanted itself may be unreadable.
    fn enter(
        &self,
        parent: &OwnedFd,
        entry: &HostEntry,
        taken: bool,
        parents: &Parents,
    ) -> Result<Vec<HostEntry>, SessionError> {
        let dir = match host::open_dir(parent, entry.split().1) {
            Err(error) if host::is_gone(error) => return Ok(Vec::new()),
            Err(Errno::ACCESS | Errno::PERM) if !taken => return Ok(Vec::new()),
            opened => opened.at(entry.shown())?,
        };
        self.directory(&dir, &entry.path, parents)
    }
}
