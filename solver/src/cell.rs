//! A vertex that is being solved, shared by all builds that have it.
//!
//! ```text
//! cell (vertex, ignore_cache)
//!   cache_map                       stage
//!   content keys of inputs          stage each
//!   run                             stage: the values of all outputs
//!   outputs
//!     fast keys, slow keys, result  stage each
//! ```
//!
//! A cell lives as long as a build that has it: so a build's values are pinned until it ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use lamina_types::Digest;
use lamina_types::Progress;
use lamina_types::Sha256Hasher;

use crate::feed::Face;
use crate::feed::Feed;
use crate::feed::FeedSink;
use crate::graph::Vertex;
use crate::imports::Imports;
use crate::key::KeyId;
use crate::life::Life;
use crate::memo::Memo;
use crate::memo::Owner;
use crate::memo::Run;
use crate::op::CacheMap;
use crate::op::OpContext;
use crate::shared::Shared;

/// A vertex that is being solved.
pub(crate) struct Cell<V, C> {
    /// What makes two vertices share a cell.
    pub(crate) key: Digest,
    pub(crate) ignore_cache: bool,
    pub(crate) vertex: Arc<Vertex<V, C>>,
    pub(crate) inputs: Vec<Input<V, C>>,
    pub(crate) shared: Arc<Shared<V, C>>,
    pub(crate) feed: Arc<Feed<C>>,
    pub(crate) life: Life,
    pub(crate) imports: Imports<V>,
    pub(crate) cache_map: Arc<Memo<Arc<CacheMap>>>,
    pub(crate) contents: Vec<Arc<Memo<Digest>>>,
    pub(crate) values: Arc<Memo<Arc<Vec<V>>>>,
    outputs: Mutex<HashMap<usize, Arc<Output<V>>>>,
}

/// An output of another cell that a cell reads.
pub(crate) struct Input<V, C> {
    pub(crate) cell: Arc<Cell<V, C>>,
    pub(crate) output: usize,
}

/// The stages of one output.
pub(crate) struct Output<V> {
    pub(crate) fast_keys: Arc<Memo<Keys>>,
    pub(crate) slow_keys: Arc<Memo<Keys>>,
    pub(crate) result: Arc<Memo<Arc<Realised<V>>>>,
}

/// Ids under which an output is known.
pub(crate) type Keys = Arc<[KeyId]>;

/// The result of an output.
pub(crate) struct Realised<V> {
    pub(crate) value: V,
    /// The id that holds the value's record; what consumers link from.
    pub(crate) key: KeyId,
    /// The ids by which consumers may look for records of their own.
    pub(crate) keys: Keys,
}

impl<V, C> Cell<V, C> {
    pub(crate) fn new(
        shared: Arc<Shared<V, C>>,
        vertex: Arc<Vertex<V, C>>,
        inputs: Vec<Input<V, C>>,
        key: Digest,
    ) -> Self {
        Self {
            key,
            ignore_cache: vertex.ignore_cache,
            shared,
            feed: Arc::new(Feed::new(&vertex)),
            life: Life::default(),
            imports: Imports::default(),
            cache_map: Arc::default(),
            contents: inputs.iter().map(|_| Arc::default()).collect(),
            values: Arc::default(),
            outputs: Mutex::default(),
            vertex,
            inputs,
        }
    }

    /// Returns the stages of an output.
    pub(crate) fn output(&self, output: usize) -> Arc<Output<V>> {
        let outputs = self.outputs.lock();
        let mut outputs = outputs.unwrap_or_else(PoisonError::into_inner);
        Arc::clone(outputs.entry(output).or_default())
    }

    /// Returns how this vertex is shown to builds that do not have it.
    pub(crate) fn face(&self) -> Face {
        Face {
            name: self.vertex.name.clone(),
            progress_group: self.vertex.progress_group.clone(),
        }
    }
}

impl<V, C: Send + Sync + 'static> Cell<V, C> {
    /// Returns what ops are given while they work for this vertex.
    pub(crate) fn context(&self, run: Run) -> OpContext<C> {
        let feed = Arc::clone(&self.feed);
        let builds = move || {
            feed.members()
                .iter()
                .map(|b| Arc::clone(&b.context))
                .collect()
        };
        let progress = Progress::new(Arc::new(FeedSink {
            feed: Arc::clone(&self.feed),
            cancel: run.cancel.clone(),
        }));
        OpContext::live(run.cancel, progress, Arc::new(builds))
    }
}

impl<V: Send + Sync + 'static, C: Send + Sync + 'static> Owner for Cell<V, C> {
    fn run(&self) -> Option<Run> {
        self.life.run()
    }

    fn stage_started(&self) {
        self.life.stage_started();
    }

    fn stage_ended(&self) {
        self.end_stage();
    }

    fn builds_joined(&self) -> u64 {
        self.feed.joined()
    }
}

impl<V> Default for Output<V> {
    fn default() -> Self {
        Self {
            fast_keys: Arc::default(),
            slow_keys: Arc::default(),
            result: Arc::default(),
        }
    }
}

/// Frees deep graphs without recursion, as `Vertex` does.
impl<V, C> Drop for Cell<V, C> {
    fn drop(&mut self) {
        let mut pending = std::mem::take(&mut self.inputs);
        while let Some(input) = pending.pop() {
            if let Some(mut cell) = Arc::into_inner(input.cell) {
                pending.append(&mut cell.inputs);
            }
        }
    }
}

/// Returns the key of a cell: the vertex's digest, unless something in its past ignores the cache.
pub(crate) fn cell_key<V, C>(
    vertex: &Vertex<V, C>,
    inputs: &[Input<V, C>],
    ignore_cache: bool,
) -> Digest {
    let is_plain = |input: &Input<V, C>| input.cell.key == input.cell.vertex.digest;
    if !ignore_cache && inputs.iter().all(is_plain) {
        return vertex.digest;
    }
    let mut hasher = Sha256Hasher::new();
    hasher.update(vertex.digest.as_bytes());
    hasher.update(&[u8::from(ignore_cache)]);
    for input in inputs {
        hasher.update(input.cell.key.as_bytes());
    }
    hasher.finish()
}
