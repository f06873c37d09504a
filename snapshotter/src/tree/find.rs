//! One component in a list of merged directories.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use lamina_types::LayerId;
use rustix::io::Result;

use crate::Owners;
use crate::StoreFormat;
use crate::XattrNamespace;
use crate::fdio;
use crate::fdio::RawStat;
use crate::store::Layer;
use crate::xattrs::Target;

/// One of the directories that merge at some place.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) fd: Arc<OwnedFd>,
    /// Where the owners of files are kept.
    pub(crate) owners: Owners,
    source: Source,
}

#[derive(Clone, Copy)]
enum Source {
    /// Sealed: never opaque. `single_names` says that no file of the layer is known to have two.
    Layer { id: LayerId, single_names: bool },
    /// Being written: its directories may be opaque.
    Upper(XattrNamespace),
}

impl Part {
    /// Stands for `fd` in `layer`.
    pub(crate) fn sealed(fd: Arc<OwnedFd>, layer: &Layer) -> Self {
        Self {
            fd,
            owners: layer.owners(),
            source: Source::Layer {
                id: layer.id(),
                single_names: layer.has_single_names(),
            },
        }
    }

    pub(crate) fn upper(fd: Arc<OwnedFd>, format: StoreFormat) -> Self {
        Self {
            fd,
            owners: format.owners,
            source: Source::Upper(format.xattrs),
        }
    }

    /// Describes the directory as the image does.
    pub(crate) fn stat(&self) -> Result<RawStat> {
        self.owners.stat_fd(&*self.fd)
    }

    /// Describes `name` in the directory as the image does; `None` if there is no such name.
    pub(crate) fn stat_at(&self, name: &[u8]) -> Result<Option<RawStat>> {
        self.owners.stat_at(&*self.fd, name)
    }

    /// Returns the sealed layer that this is in; `None` for the active one.
    pub(crate) fn layer(&self) -> Option<LayerId> {
        match self.source {
            Source::Layer { id, .. } => Some(id),
            Source::Upper(_) => None,
        }
    }

    /// Says whether it is known that no file of the layer has two names in it.
    pub(crate) fn has_single_names(&self) -> bool {
        matches!(
            self.source,
            Source::Layer {
                single_names: true,
                ..
            }
        )
    }

    /// Returns what is open behind `fd`, which is in the same layer.
    pub(crate) fn with_fd(&self, fd: OwnedFd) -> Self {
        Self {
            fd: Arc::new(fd),
            owners: self.owners,
            source: self.source,
        }
    }

    /// Says whether this directory, in which `fd` was opened, hides those below it.
    fn hides_below(&self) -> Result<bool> {
        match self.source {
            Source::Layer { .. } => Ok(false),
            Source::Upper(namespace) => is_opaque(&self.fd, namespace),
        }
    }
}

/// Says whether the directory behind `fd` hides whatever lies below it.
pub(crate) fn is_opaque(fd: &OwnedFd, namespace: XattrNamespace) -> Result<bool> {
    let value = Target::opened(fd).get(namespace.opaque().as_bytes())?;
    Ok(value.as_deref() == Some(b"y"))
}

/// What a name means in merged directories.
pub(crate) enum Found {
    /// A directory, and all that merges there, topmost first.
    Directory(Vec<Part>),
    /// Anything else, with the directory that holds it, described as the image does.
    Other { part: Part, raw: RawStat },
}

/// Looks `name` up in `parts`, topmost first; `None` if there is no such name or it is deleted.
pub(crate) fn find(parts: &[Part], name: &[u8]) -> Result<Option<Found>> {
    let mut merged = Vec::new();
    for part in parts {
        let Some(raw) = fdio::stat_at(&part.fd, name)? else {
            continue;
        };
        if !raw.is_dir() {
            if merged.is_empty() && !raw.is_whiteout() {
                let raw = part.owners.truth_of_name(&*part.fd, name, raw)?;
                let part = part.clone();
                return Ok(Some(Found::Other { part, raw }));
            }
            break;
        }
        let child = part.with_fd(fdio::open_dir(&part.fd, name)?);
        let last = child.hides_below()?;
        merged.push(child);
        if last {
            break;
        }
    }
    Ok((!merged.is_empty()).then_some(Found::Directory(merged)))
}
