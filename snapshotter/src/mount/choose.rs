//! Which backend mounts here, and why not another.

use std::fmt;
use std::sync::Arc;

use super::CopyTree;
use super::FuseOverlay;
use super::KernelOverlay;
use super::Mounter;
use crate::SnapshotError;
use crate::store::SnapshotStore;

/// A way of making mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The kernel's overlayfs.
    Overlay,
    /// Our own overlay over FUSE.
    Fuse,
    /// Copies of whole trees.
    Copy,
}

/// Those that are tried unasked, best first. Copying costs so much that it must be asked for.
const BY_THEMSELVES: [Backend; 2] = [Backend::Overlay, Backend::Fuse];

/// What mounts here.
#[derive(Clone)]
pub struct Chosen {
    /// Which one it is.
    pub backend: Backend,
    /// It, ready to use.
    pub mounter: Arc<dyn Mounter>,
    /// Better ones that do not work here.
    pub refused: Vec<Refusal>,
}

/// A backend that does not work here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which one.
    pub backend: Backend,
    /// The check that failed, and why.
    pub reason: String,
}

/// Finds a backend for `store` by real mounts: the one that is `wanted` and no other, else the first
/// that works of the kernel's overlayfs and FUSE. Call it in the namespaces that will mount.
///
/// # Errors
/// [`SnapshotError::Unavailable`] for the one that was wanted; [`SnapshotError::NoBackend`], with all
/// reasons, if none works.
pub fn choose(store: &SnapshotStore, wanted: Option<Backend>) -> Result<Chosen, SnapshotError> {
    if let Some(backend) = wanted {
        let (mounter, refused) = (backend.probe(store)?, Vec::new());
        return Ok(Chosen {
            backend,
            mounter,
            refused,
        });
    }
    let mut refused = Vec::new();
    for backend in BY_THEMSELVES {
        match backend.probe(store) {
            Ok(mounter) => {
                return Ok(Chosen {
                    backend,
                    mounter,
                    refused,
                });
            }
            Err(error) => refused.push(Refusal::new(backend, &error)),
        }
    }
    Err(SnapshotError::NoBackend {
        reasons: refused.iter().map(Refusal::to_string).collect(),
    })
}

impl Backend {
    /// Returns the name that users write and read: `overlay`, `fuse` or `copy`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Fuse => "fuse",
            Self::Copy => "copy",
        }
    }

    fn probe(self, store: &SnapshotStore) -> Result<Arc<dyn Mounter>, SnapshotError> {
        Ok(match self {
            Self::Overlay => Arc::new(KernelOverlay::probe(store)?),
            Self::Fuse => Arc::new(FuseOverlay::probe(store)?),
            Self::Copy => Arc::new(CopyTree::probe(store)?),
        })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Refusal {
    fn new(backend: Backend, error: &SnapshotError) -> Self {
        let reason = match error {
            SnapshotError::Unavailable { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        Self { backend, reason }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.backend, self.reason)
    }
}

impl Chosen {
    /// Says what was chosen and why nothing better, in one line.
    #[must_use]
    pub fn reason(&self) -> String {
        let mut text = format!("{}: a test mount works", self.mounter.describe());
        for refusal in &self.refused {
            text.push_str("; not ");
            text.push_str(&refusal.to_string());
        }
        text
    }

    /// Says whether steps run slower than they could on another machine.
    #[must_use]
    pub const fn is_slower(&self) -> bool {
        !matches!(self.backend, Backend::Overlay)
    }
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason())
    }
}
