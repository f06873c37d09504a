//! One transfer: from the client's directory to a layer.

mod files;
mod tree;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::SystemTime;

use lamina_session::LocalOwner;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::Upper;
use lamina_types::CancelToken;
use lamina_types::IoContext;

use super::attrs::PinnedLocal;
use super::copy::DataCopier;
use super::copy::Ownership;
use super::filter::Filter;
use super::follow;
use super::host;
use super::index::Index;
use super::index::IndexEntry;
use super::index::IndexFile;
use super::walk;
use super::walk::HostEntry;
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
        let followed = if self.local.follow.is_empty() {
            None
        } else {
            follow::follow(&root, &self.local.follow)?
        };
        let filter = Filter::new(&self.local, followed)?;
        let entries = walk::walk(&root, &filter, cancel)?;
        let last = self.last();
        if let Some((layer, index)) = &last
            && is_unchanged(&entries, &index.entries)
        {
            self.action.finish();
            return Ok(layer.clone());
        }
        let previous = last.map(|(layer, index)| Previous {
            layer,
            entries: by_path(index.entries),
        });
        let (layer, stable) = self.build(&root, &entries, previous.as_ref(), cancel)?;
        self.remember(&layer, entries, &stable, started_ns);
        self.action.finish();
        Ok(layer)
    }

    fn last(&self) -> Option<(Layer, Index)> {
        if !self.local.incremental {
            return None;
        }
        let index = self.index.load()?;
        let layer = self.store.layer(index.layer)?;
        Some((layer, index))
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

    /// Losing the index only makes the next transfer a full one.
    fn remember(&self, layer: &Layer, entries: Vec<HostEntry>, stable: &[bool], started_ns: i128) {
        let entries = entries.into_iter().zip(stable);
        let index = Index {
            layer: layer.id(),
            entries: entries
                .map(|(entry, stable)| IndexEntry {
                    trusted: *stable && was_settled(&entry, started_ns),
                    entry,
                })
                .collect(),
        };
        if let Err(error) = self.index.save(&index) {
            tracing::warn!(%error, "the next transfer of a local source will be a full one");
        }
    }
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
