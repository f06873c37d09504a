//! Cache graphs from elsewhere as a [`CacheStore`].
//!
//! A build gives such a graph ([`Job::cache_graph`](crate::Job::cache_graph)); [`GraphCache`] makes
//! another build find what is in it ([`Job::import`](crate::Job::import)).

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_types::CacheGraph;
use lamina_types::Digest;
use lamina_types::GraphLink;
use lamina_types::GraphRecord;
use lamina_types::Sha256Hasher;

use crate::key::KeyId;
use crate::key::Link;
use crate::store::CacheStore;
use crate::store::Record;
use crate::store::latest_first;

/// A graph that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A link leads to no record.
    #[error("invalid record ID: {index}")]
    NoSuchRecord {
        /// The place that it names.
        index: usize,
    },
    /// An input has no alternative at all.
    #[error("invalid empty input for record {index}")]
    EmptyInput {
        /// Whose input.
        index: usize,
    },
    /// A record is computed from itself.
    #[error("invalid looping record")]
    Loop,
}

/// Returns the digest of records of an op's output.
pub(crate) fn step_digest(op: Digest, output: u32) -> Digest {
    let mut hasher = Sha256Hasher::new();
    hasher.update_field(b"step");
    hasher.update(op.as_bytes());
    hasher.update(&output.to_le_bytes());
    hasher.finish()
}

/// Returns the digest of a record that stands for an id.
pub(crate) fn leaf_digest(id: KeyId) -> Digest {
    Digest::from_bytes(*id.as_bytes())
}

/// The keys and records of a graph from elsewhere, read only: adding does nothing, and forgetting
/// lasts as long as this object.
#[derive(Debug)]
pub struct GraphCache {
    links: HashMap<GraphKey, BTreeSet<KeyId>>,
    records: Mutex<HashMap<KeyId, Vec<Record>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct GraphKey {
    from: KeyId,
    input: u32,
    selector: Option<Digest>,
    step: Digest,
}

impl GraphCache {
    /// Indexes a graph, whose results are what a [`ResultStore`](crate::ResultStore) loads.
    ///
    /// # Errors
    /// [`GraphError`] if it is no graph of computations.
    pub fn new(graph: CacheGraph<Vec<u8>>) -> Result<Self, GraphError> {
        let ids = ids(&graph)?;
        let mut links: HashMap<GraphKey, BTreeSet<KeyId>> = HashMap::new();
        let mut records: HashMap<KeyId, Vec<Record>> = HashMap::new();
        for (record, id) in graph.records.into_iter().zip(&ids) {
            for (input, alternatives) in record.inputs.iter().enumerate() {
                for link in alternatives {
                    let key = GraphKey {
                        from: ids[link.record],
                        input: u32::try_from(input).unwrap_or(u32::MAX),
                        selector: link.selector,
                        step: record.digest,
                    };
                    links.entry(key).or_default().insert(*id);
                }
            }
            let results = record.results.into_iter().map(|result| Record {
                data: result.value,
                created: result.created,
            });
            records.entry(*id).or_default().extend(results);
        }
        records.values_mut().for_each(|found| latest_first(found));
        let records = Mutex::new(records);
        Ok(Self { links, records })
    }

    fn records(&self) -> MutexGuard<'_, HashMap<KeyId, Vec<Record>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheStore for GraphCache {
    fn links(&self, from: KeyId, link: &Link) -> Vec<KeyId> {
        let key = GraphKey {
            from,
            input: link.input,
            selector: link.selector,
            step: step_digest(link.op, link.output),
        };
        let ids = self.links.get(&key);
        ids.map_or_else(Vec::new, |ids| ids.iter().copied().collect())
    }

    fn add_link(&self, _: KeyId, _: &Link, _: KeyId) {}

    fn records(&self, id: KeyId) -> Vec<Record> {
        self.records().get(&id).cloned().unwrap_or_default()
    }

    fn add_record(&self, _: KeyId, _: &Record) {}

    fn forget(&self, id: KeyId, data: &[u8]) {
        if let Some(found) = self.records().get_mut(&id) {
            found.retain(|record| record.data != data);
        }
    }

    fn for_each_record(&self, visit: &mut dyn FnMut(KeyId, &Record)) {
        let all = self.records().clone();
        for (id, records) in &all {
            records.iter().for_each(|record| visit(*id, record));
        }
    }
}

/// Returns the ids of the records: equal computations get equal ones, wherever they were exported.
fn ids(graph: &CacheGraph<Vec<u8>>) -> Result<Vec<KeyId>, GraphError> {
    let mut ids = vec![None; graph.records.len()];
    for index in inputs_first(graph)? {
        let record = &graph.records[index];
        ids[index] = Some(id(record, &ids));
    }
    Ok(ids.into_iter().flatten().collect())
}

fn id(record: &GraphRecord<Vec<u8>>, ids: &[Option<KeyId>]) -> KeyId {
    if record.inputs.is_empty() {
        return KeyId::from_bytes(*record.digest.as_bytes());
    }
    let mut hasher = Sha256Hasher::new();
    hasher.update_field(b"imported");
    hasher.update(record.digest.as_bytes());
    for alternatives in &record.inputs {
        let named = |link: &GraphLink| Some((ids[link.record]?, link.selector));
        let alternatives: BTreeSet<_> = alternatives.iter().filter_map(named).collect();
        hasher.update(&alternatives.len().to_le_bytes());
        for (id, selector) in alternatives {
            hasher.update(id.as_bytes());
            hasher.update_field(selector.as_ref().map_or(&[], |s| &s.as_bytes()[..]));
        }
    }
    KeyId::from_bytes(*hasher.finish().as_bytes())
}

/// Returns the records so that inputs come first; a loop, because anybody may have made the graph.
fn inputs_first(graph: &CacheGraph<Vec<u8>>) -> Result<Vec<usize>, GraphError> {
    check_links(graph)?;
    let count = graph.records.len();
    let mut waiting: Vec<usize> = vec![0; count];
    let mut consumers: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (index, record) in graph.records.iter().enumerate() {
        for link in record.inputs.iter().flatten() {
            waiting[index] += 1;
            consumers[link.record].push(index);
        }
    }
    let mut order: Vec<usize> = (0..count).filter(|index| waiting[*index] == 0).collect();
    let mut done = 0;
    while let Some(&index) = order.get(done) {
        done += 1;
        for &consumer in &consumers[index] {
            waiting[consumer] -= 1;
            if waiting[consumer] == 0 {
                order.push(consumer);
            }
        }
    }
    if order.len() < count {
        return Err(GraphError::Loop);
    }
    Ok(order)
}

fn check_links(graph: &CacheGraph<Vec<u8>>) -> Result<(), GraphError> {
    for (index, record) in graph.records.iter().enumerate() {
        for alternatives in &record.inputs {
            if alternatives.is_empty() {
                return Err(GraphError::EmptyInput { index });
            }
            let mut named = alternatives.iter().map(|link| link.record);
            if let Some(index) = named.find(|record| *record >= graph.records.len()) {
                return Err(GraphError::NoSuchRecord { index });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use lamina_types::GraphResult;

    use super::*;

    fn record(name: &str, inputs: &[&[usize]]) -> GraphRecord<Vec<u8>> {
        let link = |record: &usize| GraphLink {
            selector: None,
            record: *record,
        };
        GraphRecord {
            digest: Digest::of(name.as_bytes()),
            inputs: inputs
                .iter()
                .map(|i| i.iter().map(link).collect())
                .collect(),
            results: vec![GraphResult {
                value: name.into(),
                created: SystemTime::UNIX_EPOCH,
            }],
        }
    }

    fn cache(records: &[GraphRecord<Vec<u8>>]) -> Result<GraphCache, GraphError> {
        GraphCache::new(CacheGraph {
            records: records.to_vec(),
        })
    }

    #[test]
    fn graphs_that_make_no_sense_are_refused() {
        for (name, records, error) in [
            (
                "no such record",
                vec![record("a", &[&[7]])],
                GraphError::NoSuchRecord { index: 7 },
            ),
            (
                "empty input",
                vec![record("a", &[&[]])],
                GraphError::EmptyInput { index: 0 },
            ),
            ("itself", vec![record("a", &[&[0]])], GraphError::Loop),
            (
                "each other",
                vec![record("a", &[&[1]]), record("b", &[&[0]])],
                GraphError::Loop,
            ),
        ] {
            assert_eq!(cache(&records).err(), Some(error), "{name}");
        }
        assert!(cache(&[]).is_ok());
    }

    #[test]
    fn links_lead_from_any_alternative_to_the_record() {
        let op = Digest::of(b"op");
        let root = KeyId::root(Digest::of(b"r"), 0);
        let content = KeyId::content(Digest::of(b"c"));
        let mut step = record("step", &[&[1, 2]]);
        step.digest = step_digest(op, 0);
        let mut leaves = [record("r", &[]), record("c", &[])];
        leaves[0].digest = leaf_digest(root);
        leaves[1].digest = leaf_digest(content);
        let [first, second] = leaves;
        let cache = cache(&[step, first, second]).expect("makes sense");
        let link = Link {
            input: 0,
            output: 0,
            op,
            selector: None,
        };
        let by_root = cache.links(root, &link);
        assert_eq!(by_root.len(), 1);
        assert_eq!(cache.links(content, &link), by_root);
        assert_eq!(CacheStore::records(&cache, by_root[0])[0].data, b"step");
        for other in [
            Link { input: 1, ..link },
            Link { output: 1, ..link },
            Link {
                selector: Some(op),
                ..link
            },
        ] {
            assert!(cache.links(root, &other).is_empty(), "{other:?}");
        }
        cache.forget(by_root[0], b"step");
        assert!(CacheStore::records(&cache, by_root[0]).is_empty());
    }
}
