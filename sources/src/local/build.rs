//! One transfer: from the client's directory to a layer.

mod files;
mod tree;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::SystemTime;

use lamina_session::LocalOwner;
use lamina_session::host;
use lamina_session::host::HostEntry;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::Upper;
use lamina_types::CancelToken;
use lamina_types::IoContext;

use super::attrs::PinnedLocal;
use super::copy::DataCopier;
use super::copy::Ownership;
use super::index::IndexEntry;
use super::index::IndexFile;
use super::shared;
use crate::SourceError;
use crate::report::Action;
use tree::Plan;

/// Clocks of file systems tick this often; two changes within one tick look like one.
const CLOCK_TICK_NS: i128 = 20_000_000;
/// The same where times have no fractions.
const COARSE_TICK_NS: i128 = 2_000_000_000;

/// What a transfer needs.
pub(super) struct Transfer {
    pub(super) store: SnapshotStore,
    pub(super) index: IndexFile,
    pub(super) local: PinnedLocal,
    pub(super) dir: PathBuf,
    pub(super) owner: LocalOwner,
    pub(super) action: Action,
}

/// The last transfer of the same source.
struct Previous {
    layer: Layer,
    entries: HashMap<Vec<u8>, IndexEntry>,
}

/// What the steps of making the layer share.
struct Builder<'a> {
    root: &'a OwnedFd,
    upper: Upper,
    ownership: Ownership,
    previous: Option<&'a Previous>,
    copier: DataCopier,
    action: &'a Action,
    cancel: &'a CancelToken,
}

impl Transfer {
    /// Returns the layer, which is the one of last time if nothing has changed.
    pub(super) fn run(self, cancel: &CancelToken) -> Result<Layer, SourceError> {
        let started_ns = now_ns();
        let root = host::open_root(&self.dir).at(self.dir.display())?;
        let entries = host::list(&root, &self.local.request(), cancel)?;
        let last = shared::last(&self.local, &self.index, &self.store);
        if let Some((layer, known)) = &last
            && is_unchanged(&entries, known)
        {
            self.action.finish();
            return Ok(layer.clone());
        }
        let previous = last.map(|(layer, known)| Previous {
            layer,
            entries: by_path(known),
        });
        let (layer, stable) = self.build(&root, &entries, previous.as_ref(), cancel)?;
        self.remember(&layer, entries, &stable, started_ns);
        self.action.finish();
        Ok(layer)
    }

    /// Returns the layer, and for each entry whether it stayed the same while it was copied.
    fn build(
        &self,
        root: &OwnedFd,
        entries: &[HostEntry],
        previous: Option<&Previous>,
        cancel: &CancelToken,
    ) -> Result<(Layer, Vec<bool>), SourceError> {
        let mut active = self.store.prepare(&LayerStack::empty())?;
        active.describe(format!("local source for {}", self.local.name));
        let builder = Builder {
            root,
            upper: active.writer(),
            ownership: Ownership::new(self.owner),
            previous,
            copier: DataCopier::default(),
            action: &self.action,
            cancel,
        };
        let plan = Plan::of(entries, builder.ownership.is_root());
        builder.make_directories(&plan)?;
        let stable = builder.make_files(&plan)?;
        builder.make_hard_links(&plan)?;
        builder.finish_directories(&plan)?;
        drop(builder);
        Ok((active.commit(cancel)?, stable))
    }

    fn remember(&self, layer: &Layer, entries: Vec<HostEntry>, stable: &[bool], started_ns: i128) {
        let entries = entries.into_iter().zip(stable);
        let entries = entries.map(|(entry, stable)| IndexEntry {
            trusted: *stable && was_settled(&entry, started_ns),
            entry,
        });
        shared::remember(&self.index, layer, entries.collect());
    }
}

/// Copies `entries`, which are all of the directory `root` of this engine or part of it, to a layer.
/// Everything belongs to 0:0 and is otherwise what it is.
///
/// # Errors
/// I/O errors, cancellation.
pub(crate) fn copy_all(
    root: &OwnedFd,
    entries: &[HostEntry],
    upper: Upper,
    action: &Action,
    cancel: &CancelToken,
) -> Result<(), SourceError> {
    let builder = Builder {
        root,
        upper,
        ownership: Ownership::new(LocalOwner::default()),
        previous: None,
        copier: DataCopier::default(),
        action,
        cancel,
    };
    let plan = Plan::of(entries, builder.ownership.is_root());
    builder.make_directories(&plan)?;
    builder.make_files(&plan)?;
    builder.make_hard_links(&plan)?;
    builder.finish_directories(&plan)
}

fn now_ns() -> i128 {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| {
        i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
    })
}

/// Says whether a change after the transfer began must show in the entry's times.
fn was_settled(entry: &HostEntry, started_ns: i128) -> bool {
    let changed = entry.fingerprint.ctime_ns;
    let tick = if changed % 1_000_000_000 == 0 {
        COARSE_TICK_NS
    } else {
        CLOCK_TICK_NS
    };
    changed + tick < started_ns
}

fn is_unchanged(now: &[HostEntry], then: &[IndexEntry]) -> bool {
    now.len() == then.len()
        && now
            .iter()
            .zip(then)
            .all(|(now, then)| then.trusted && *now == then.entry)
}

fn by_path(entries: Vec<IndexEntry>) -> HashMap<Vec<u8>, IndexEntry> {
    let pairs = entries.into_iter();
    pairs.map(|e| (e.entry.path.clone(), e)).collect()
}
