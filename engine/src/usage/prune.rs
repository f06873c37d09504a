//! Removing what is not needed (rows CTL-10 to CTL-13).
//!
//! Results go from the top: a layer is removed when nothing else is made of it any more, so that a
//! filter or a limit never breaks what is to stay. What a running build holds stays in any case.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::time::SystemTime;

use lamina_proto::control::UsageRecord;
use lamina_solver::CacheStore as _;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::LayerId;

use super::Stores;
use super::UsageError;
use super::content;
use super::inventory::Inventory;
use super::item::Item;
use super::item::ItemId;
use super::policy;
use crate::GcPolicy;
use crate::filter::Filters;

/// Layers that are removed at once before their records are told: each batch waits for the disk once.
const BATCH: usize = 256;

/// Removes what `rule` lets go and calls `removed` for each thing that is gone; stops early if that
/// returns `false` or at a cancel. Says whether anything went. Blocks.
pub(super) fn prune(
    stores: &Stores,
    rule: &GcPolicy,
    removed: &mut dyn FnMut(UsageRecord) -> bool,
    cancel: &CancelToken,
) -> Result<bool, UsageError> {
    let filters = Filters::parse(&rule.filters)?;
    let mut pruning = Pruning::new(stores, rule, &filters);
    if rule.filters.is_empty() && pruning.keep.is_none() {
        pruning.forget_empty(rule);
    }
    let told = pruning.run(removed, cancel);
    let Pruning { gone, .. } = pruning;
    stores.uses.write(&layers_of(&gone));
    let dead: HashSet<Digest> = gone.iter().flat_map(|item| item.blobs.clone()).collect();
    let everything = rule.all && rule.filters.is_empty() && rule.keep_duration.is_zero();
    content::sweep(stores, &dead, everything && told)?;
    Ok(!gone.is_empty())
}

struct Pruning<'a> {
    stores: &'a Stores,
    inventory: Inventory,
    /// What may go, in this order, as indices of items.
    order: Vec<usize>,
    /// Places in the order of what can go now, the first on top.
    ready: BinaryHeap<Reverse<usize>>,
    /// Places in the order of layers that something is still made of.
    waiting: HashMap<LayerId, usize>,
    /// Stop below so many bytes; `None` = everything goes.
    keep: Option<u64>,
    used: u64,
    gone: Vec<Item>,
}

impl<'a> Pruning<'a> {
    fn new(stores: &'a Stores, rule: &GcPolicy, filters: &Filters) -> Self {
        let inventory = Inventory::take(stores);
        let order = candidates(&inventory.items, rule, filters);
        let (mut ready, mut waiting) = (BinaryHeap::new(), HashMap::new());
        for (place, index) in order.iter().enumerate() {
            match inventory.items[*index].id {
                ItemId::Layer(layer) if !inventory.graph.is_free(layer) => {
                    waiting.insert(layer, place);
                }
                _ => ready.push(Reverse(place)),
            }
        }
        let used = inventory.bytes();
        Self {
            stores,
            keep: policy::keep_bytes(rule, used, stores.disk()),
            inventory,
            order,
            ready,
            waiting,
            used,
            gone: Vec::new(),
        }
    }

    /// Returns whether it came to its end.
    fn run(&mut self, removed: &mut dyn FnMut(UsageRecord) -> bool, cancel: &CancelToken) -> bool {
        loop {
            if cancel.is_cancelled() {
                return false;
            }
            let batch = self.next_batch();
            if batch.is_empty() {
                return true;
            }
            for item in self.remove(&batch) {
                if !removed(item.record.clone()) {
                    return false;
                }
            }
        }
    }

    /// Takes the next few things that can go, as long as too much is used. What they free can be in
    /// the same batch.
    fn next_batch(&mut self) -> Vec<usize> {
        let mut batch = Vec::new();
        while batch.len() < BATCH && self.keep.is_none_or(|keep| self.used >= keep) {
            let Some(Reverse(place)) = self.ready.pop() else {
                break;
            };
            let index = self.order[place];
            let item = &self.inventory.items[index];
            self.used = self.used.saturating_sub(item.bytes());
            if let ItemId::Layer(layer) = item.id {
                self.forget(layer);
            }
            batch.push(index);
        }
        batch
    }

    /// Forgets the results that are about a layer; what was waiting for that can go then.
    fn forget(&mut self, layer: LayerId) {
        let (records, freed) = self.inventory.graph.remove(layer);
        for (key, data) in records {
            self.stores.cache.forget(key, &data);
        }
        let places = freed.iter().filter_map(|layer| self.waiting.remove(layer));
        self.ready.extend(places.map(Reverse));
    }

    /// Deletes; returns what is gone. What came into use in the meantime is not.
    fn remove(&mut self, batch: &[usize]) -> Vec<Item> {
        let items: Vec<Item> = batch
            .iter()
            .map(|index| self.inventory.items[*index].clone())
            .collect();
        if let Err(error) = self.stores.snapshots.remove(&layers_of(&items)) {
            tracing::warn!(%error, "layers could not be deleted");
        }
        let gone = |item: &Item| match item.id {
            ItemId::Layer(layer) => self.stores.snapshots.layer(layer).is_none(),
            ItemId::CacheMount(number) => self.stores.cache_mounts.remove(number),
            ItemId::Repository(key) => self.stores.repositories.remove(&key),
        };
        let gone: Vec<Item> = items.into_iter().filter(gone).collect();
        self.gone.extend(gone.iter().cloned());
        gone
    }

    /// Forgets results that have no layer: they take no space, but they are cached.
    fn forget_empty(&mut self, rule: &GcPolicy) {
        let oldest = SystemTime::now().checked_sub(rule.keep_duration);
        for ((key, data), created) in std::mem::take(&mut self.inventory.empty) {
            if rule.keep_duration.is_zero() || oldest.is_some_and(|oldest| created <= oldest) {
                self.stores.cache.forget(key, &data);
            }
        }
    }
}

/// Returns what may go, in this order.
fn candidates(items: &[Item], rule: &GcPolicy, filters: &Filters) -> Vec<usize> {
    let oldest = SystemTime::now().checked_sub(rule.keep_duration);
    let is_recent = |item: &Item| {
        !rule.keep_duration.is_zero() && oldest.is_none_or(|oldest| item.idle_since > oldest)
    };
    let wanted = |item: &Item| {
        !item.record.in_use
            && (rule.all || !item.is_kept_by_default())
            && !is_recent(item)
            && filters.match_fields(item)
    };
    let all = items.iter().enumerate();
    let mut candidates: Vec<usize> = all
        .filter(|(_, item)| wanted(item))
        .map(|(index, _)| index)
        .collect();
    let ranks = ranks(items, &candidates);
    candidates.sort_by(|a, b| ranks[a].total_cmp(&ranks[b]));
    candidates
}

/// Ranks by how long ago and how rarely things were used, both from 0 to 1; the lowest goes first.
fn ranks(items: &[Item], candidates: &[usize]) -> HashMap<usize, f64> {
    let mut ranks: HashMap<usize, f64> = candidates.iter().map(|index| (*index, 0.0)).collect();
    let mut add = |key: &dyn Fn(&Item) -> u128| {
        let mut values: Vec<u128> = candidates.iter().map(|index| key(&items[*index])).collect();
        values.sort_unstable();
        values.dedup();
        for index in candidates {
            let place = values.partition_point(|value| *value < key(&items[*index]));
            #[expect(clippy::cast_precision_loss, reason = "a rank, not a count")]
            let share = place as f64 / values.len() as f64;
            *ranks.entry(*index).or_default() += share;
        }
    };
    add(&|item| {
        let since = item.idle_since.duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or_default().as_nanos()
    });
    add(&|item| u128::try_from(item.record.usage_count).unwrap_or(0));
    ranks
}

fn layers_of(items: &[Item]) -> Vec<LayerId> {
    let layer = |item: &Item| match item.id {
        ItemId::Layer(layer) => Some(layer),
        ItemId::CacheMount(_) | ItemId::Repository(_) => None,
    };
    items.iter().filter_map(layer).collect()
}
