//! What transfers from this host and from remote clients do alike.

use lamina_session::host;
use lamina_session::host::HostEntry;
use lamina_snapshotter::Entry;
use lamina_snapshotter::Layer;
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

/// Makes a file of the last layer a name in the new one; says whether that worked: the layer may
/// have something else there, the kernel allows only so many links, and the store's rule may
/// forbid it.
pub(super) fn link_old(
    made: &WriteDir,
    entry: &HostEntry,
    old_folder: &Entry,
) -> Result<bool, SourceError> {
    let name = entry.split().1;
    let Ok(old) = old_folder.child(name) else {
        return Ok(false);
    };
    if old.stat().kind != FileKind::File || old.stat().size != entry.fingerprint.size {
        return Ok(false);
    }
    match made.link_from(name, &old) {
        Ok(()) => Ok(true),
        Err(SnapshotError::Io(_)) => Ok(false),
        Err(error) => Err(error.into()),
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
