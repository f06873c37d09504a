//! Writing down what a step made.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use lamina_types::Digest;

use crate::cell::Realised;
use crate::key::KeyId;
use crate::key::Link;
use crate::lookup::Reading;
use crate::op::ResultStore;
use crate::store::CacheStore;
use crate::store::Record;

/// A computation whose result is to be kept.
pub(crate) struct Commit<V> {
    pub(crate) op: Digest,
    pub(crate) output: u32,
    pub(crate) readings: Vec<Reading<V>>,
    pub(crate) ignore_cache: bool,
    /// Whether the value is to be found again.
    pub(crate) recorded: bool,
}

impl<V> Commit<V> {
    /// Links the computation's id from all keys of its inputs, and saves the value under it. If the
    /// value cannot be saved the step is not cached, and the build goes on.
    pub(crate) async fn save(
        &self,
        value: V,
        cache: &dyn CacheStore,
        results: &dyn ResultStore<V>,
    ) -> Realised<V> {
        let namesakes = self.namesakes(cache);
        let key = self.id(cache);
        self.add_links(cache, key);
        if self.recorded {
            self.add_record(key, &value, cache, results).await;
        }
        let keys = if self.ignore_cache {
            Arc::from([])
        } else {
            namesakes.into_iter().chain([key]).collect()
        };
        Realised { value, key, keys }
    }

    async fn add_record(
        &self,
        key: KeyId,
        value: &V,
        cache: &dyn CacheStore,
        results: &dyn ResultStore<V>,
    ) {
        match results.save(value).await {
            Ok(data) => {
                let created = SystemTime::now();
                cache.add_record(key, &Record { data, created });
            }
            Err(error) => tracing::warn!(%error, "result could not be kept"),
        }
    }

    /// Says whether a result was kept since it was looked for.
    pub(crate) fn is_known(&self, cache: &dyn CacheStore) -> bool {
        !self.ignore_cache && self.recorded && !cache.records(self.id(cache)).is_empty()
    }

    /// Returns the id of the computation: one that exists and agrees in every input, by content
    /// where the content is known, or a new one.
    fn id(&self, cache: &dyn CacheStore) -> KeyId {
        let decisive = self.readings.iter().map(decisive_key);
        if self.readings.is_empty() {
            return KeyId::root(self.op, self.output);
        }
        let known = intersect(
            decisive
                .clone()
                .enumerate()
                .map(|(index, (key, selector))| {
                    BTreeSet::from_iter(cache.links(key, &self.link(index, selector)))
                }),
        );
        let new = || KeyId::derived(self.op, self.output, &decisive.collect::<Vec<_>>());
        known.first().copied().unwrap_or_else(new)
    }

    /// Returns ids that earlier runs of the same definition had, though the content that they read
    /// may have been another. Consumers of a step that was forced to run again find what was made
    /// from those, as they do with BuildKit: the first input counts by any of its keys, the others
    /// by all of them.
    fn namesakes(&self, cache: &dyn CacheStore) -> BTreeSet<KeyId> {
        intersect(self.readings.iter().enumerate().map(|(index, reading)| {
            let by_key = cache.links(reading.key, &self.link(index, reading.selector));
            let by_key = BTreeSet::from_iter(by_key);
            let Some(content) = reading.content else {
                return by_key;
            };
            let by_content = cache.links(KeyId::content(content), &self.link(index, None));
            let by_content = BTreeSet::from_iter(by_content);
            if index == 0 {
                &by_key | &by_content
            } else {
                &by_key & &by_content
            }
        }))
    }

    fn add_links(&self, cache: &dyn CacheStore, to: KeyId) {
        for (index, reading) in self.readings.iter().enumerate() {
            cache.add_link(reading.key, &self.link(index, reading.selector), to);
            if let Some(content) = reading.content {
                cache.add_link(KeyId::content(content), &self.link(index, None), to);
            }
        }
    }

    fn link(&self, index: usize, selector: Option<Digest>) -> Link {
        Link {
            input: u32::try_from(index).unwrap_or(u32::MAX),
            output: self.output,
            op: self.op,
            selector,
        }
    }
}

/// Returns the key that says most about an input, with its selector.
fn decisive_key<V>(reading: &Reading<V>) -> (KeyId, Option<Digest>) {
    match reading.content {
        Some(content) => (KeyId::content(content), None),
        None => (reading.key, reading.selector),
    }
}

fn intersect(mut sets: impl Iterator<Item = BTreeSet<KeyId>>) -> BTreeSet<KeyId> {
    let first = sets.next().unwrap_or_default();
    sets.fold(first, |common, set| &common & &set)
}
