//! What transfers from this host and from remote clients do alike.

use lamina_session::host;
use lamina_session::host::HostEntry;
use lamina_snapshotter::Entry;
use lamina_snapshotter::Layer;
use lamina_snapshotter::Linker;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::Upper;
use lamina_snapshotter::WriteDir;
use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::RootedPath;
use lamina_types::Stat;

use super::attrs::PinnedLocal;
use super::index::Index;
use super::index::IndexEntry;
use super::index::IndexFile;
use crate::SourceError;

/// Returns the last transfer, if it may be built on and its layer is still there (row SRC-13).
pub(super) fn last(
    local: &PinnedLocal,
    index: &IndexFile,
    store: &SnapshotStore,
) -> Option<(Layer, Vec<IndexEntry>)> {
    if !local.incremental {
        return None;
    }
    let index = index.load()?;
    let layer = store.layer(index.layer)?;
    Some((layer, index.entries))
}

/// Keeps what the next transfer needs. Losing it only makes that one a full one.
pub(super) fn remember(index: &IndexFile, layer: &Layer, entries: Vec<IndexEntry>) {
    let made = Index {
        layer: layer.id(),
        entries,
    };
    if let Err(error) = index.save(&made) {
        tracing::warn!(%error, "the next transfer of a local source will be a full one");
    }
}

/// A directory of the last layer, whose files may become names in the new one.
pub(super) struct OldFolder {
    pub(super) entry: Entry,
    linker: Linker,
}

impl OldFolder {
    /// `entry` is a directory of the last layer, `made` the one in the new layer.
    pub(super) fn new(entry: Entry, made: &WriteDir) -> Result<Self, SnapshotError> {
        let linker = made.linker(&entry)?;
        Ok(Self { entry, linker })
    }

    /// Makes a file a name in the new layer too; says whether that worked: the old one may have something
    /// else there, the kernel allows only so many links, and the store's rule may forbid it.
    pub(super) fn link(&self, made: &WriteDir, entry: &HostEntry) -> Result<bool, SourceError> {
        let (name, size) = (entry.split().1, entry.fingerprint.size);
        let linked = match self.linker.link_of_size(name, size) {
            Ok(false) => self.link_one(made, name, size),
            linked => linked,
        };
        match linked {
            Err(SnapshotError::Io(_)) => Ok(false),
            linked => Ok(linked?),
        }
    }

    /// As [`OldFolder::link`], for a file that has to be looked at first.
    fn link_one(&self, made: &WriteDir, name: &[u8], size: u64) -> Result<bool, SnapshotError> {
        let Ok(old) = self.entry.child(name) else {
            return Ok(false);
        };
        if old.stat().kind != FileKind::File || old.stat().size != size {
            return Ok(false);
        }
        made.link_from(name, &old).map(|()| true)
    }
}

/// Makes `further` another name of `first`; says whether `first` was there.
pub(super) fn link_name(upper: &Upper, further: &[u8], first: &[u8]) -> Result<bool, SourceError> {
    let (folder, name) = host::split(first);
    let source = upper.dir(&RootedPath::new(folder))?.lookup(name)?;
    let Some(source) = source else {
        return Ok(false);
    };
    let (folder, name) = host::split(further);
    upper
        .dir(&RootedPath::new(folder))?
        .link_from(name, &source)?;
    Ok(true)
}

/// Only root makes devices, and nobody makes what overlayfs would take for a whiteout. Sockets
/// mean nothing without the process behind them.
pub(super) fn can_make(entry: &HostEntry, is_root: bool) -> bool {
    match entry.kind() {
        FileKind::CharDevice => is_root && entry.fingerprint.node != (0, 0),
        FileKind::BlockDevice => is_root,
        FileKind::Socket => false,
        _ => true,
    }
}

/// Describes a fifo or device.
pub(super) fn node(entry: &HostEntry) -> Stat {
    let found = &entry.fingerprint;
    Stat {
        kind: found.kind,
        mode: found.mode,
        uid: 0,
        gid: 0,
        size: 0,
        mtime_ns: found.mtime_ns,
        nlink: 1,
        link_target: Vec::new(),
        device: DeviceNumber {
            major: found.node.0,
            minor: found.node.1,
        },
        xattrs: std::collections::BTreeMap::new(),
    }
}
