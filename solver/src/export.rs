//! The cache graph of what a build has solved (rows CEX-01, CEX-03).
//!
//! The keys of everything below the given edges go into the graph; results only where they are
//! wanted. Nothing is run for it: what this build did not make is loaded from records, and what has
//! no record stays a key.

use std::collections::HashMap;
use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::SystemTime;

use lamina_types::CacheGraph;
use lamina_types::Digest;
use lamina_types::GraphLink;
use lamina_types::GraphRecord;
use lamina_types::GraphResult;

use crate::cache_graph::leaf_digest;
use crate::cache_graph::step_digest;
use crate::cell::Cell;
use crate::cell::Input;
use crate::cell::Realised;
use crate::key::KeyId;
use crate::life::Interest;
use crate::op::CacheMap;

/// Whose results go into a cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CacheMode {
    /// Those of the final steps.
    #[default]
    Min,
    /// Those of all steps.
    Max,
}

/// One output of one vertex, by address and output. The roots keep every vertex where it is.
type Place = (usize, usize);

/// An export under way.
pub(crate) struct Export<'a, V, C> {
    mode: CacheMode,
    /// What definitions say of a vertex, whatever the mode.
    overrides: &'a HashMap<Digest, bool>,
    wanted: HashSet<Place>,
    graph: CacheGraph<V>,
    /// Where each output went; `None` = its key is not known.
    places: HashMap<Place, Option<usize>>,
    contents: HashMap<Digest, usize>,
    context: PhantomData<fn(C)>,
}

impl<'a, V, C> Export<'a, V, C>
where
    V: Clone + Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    pub(crate) fn new(mode: CacheMode, overrides: &'a HashMap<Digest, bool>) -> Self {
        Self {
            mode,
            overrides,
            wanted: HashSet::new(),
            graph: CacheGraph::default(),
            places: HashMap::new(),
            contents: HashMap::new(),
            context: PhantomData,
        }
    }

    /// Adds all that is below the roots.
    pub(crate) async fn run(mut self, roots: Vec<Input<V, C>>) -> CacheGraph<V> {
        self.want(&roots);
        for input in inputs_first(&roots) {
            let added = self.add(&input).await;
            self.places.insert(place(&input), added);
        }
        self.graph
    }

    /// Finds the final steps: those whose results are kept at all, seen from the roots.
    fn want(&mut self, roots: &[Input<V, C>]) {
        let mut pending: Vec<Input<V, C>> = roots.iter().map(copy).collect();
        let mut visited = HashSet::new();
        while let Some(input) = pending.pop() {
            if !visited.insert(place(&input)) {
                continue;
            }
            let vertex = &input.cell.vertex;
            let refused = self.overrides.get(&vertex.digest) == Some(&false);
            if vertex.op.is_recorded() && !refused && !input.cell.inputs.is_empty() {
                self.wanted.insert(place(&input));
            } else {
                pending.extend(input.cell.inputs.iter().map(copy));
            }
        }
    }

    fn is_wanted(&self, input: &Input<V, C>) -> bool {
        let vertex = &input.cell.vertex;
        if input.cell.inputs.is_empty() || !vertex.op.is_recorded() {
            return false;
        }
        let by_mode = self.mode == CacheMode::Max || self.wanted.contains(&place(input));
        let said = self.overrides.get(&vertex.digest).copied();
        said.unwrap_or(by_mode)
    }

    async fn add(&mut self, input: &Input<V, C>) -> Option<usize> {
        let cell = &input.cell;
        let _interest = Interest::new(cell);
        let map = cell.cache_map().await.ok()?;
        let output = u32::try_from(input.output).unwrap_or(u32::MAX);
        if cell.inputs.is_empty() {
            let id = KeyId::root(map.digest, output);
            return Some(self.push(leaf_digest(id), Vec::new(), Vec::new()));
        }
        let mut inputs = Vec::with_capacity(cell.inputs.len());
        for index in 0..cell.inputs.len() {
            let alternatives = self.alternatives(cell, index, &map).await;
            if alternatives.is_empty() {
                return None;
            }
            inputs.push(alternatives);
        }
        let mut results = Vec::new();
        if self.is_wanted(input) {
            results.extend(result(input).await);
        }
        Some(self.push(step_digest(map.digest, output), inputs, results))
    }

    /// Returns who an input may be: by its definition, and by its content where that is known.
    async fn alternatives(
        &mut self,
        cell: &Arc<Cell<V, C>>,
        index: usize,
        map: &CacheMap,
    ) -> Vec<GraphLink> {
        let key = map.inputs.get(index).cloned().unwrap_or_default();
        let by_definition = self.places.get(&place(&cell.inputs[index]));
        let by_definition = by_definition.copied().flatten();
        let mut links: Vec<GraphLink> = by_definition
            .map(|record| GraphLink {
                selector: key.selector,
                record,
            })
            .into_iter()
            .collect();
        if key.content
            && let Some(content) = content(cell, index).await
        {
            links.push(GraphLink {
                selector: None,
                record: self.content_record(content),
            });
        }
        links
    }

    fn content_record(&mut self, content: Digest) -> usize {
        if let Some(known) = self.contents.get(&content) {
            return *known;
        }
        let record = self.push(leaf_digest(KeyId::content(content)), Vec::new(), Vec::new());
        self.contents.insert(content, record);
        record
    }

    fn push(
        &mut self,
        digest: Digest,
        inputs: Vec<Vec<GraphLink>>,
        results: Vec<GraphResult<V>>,
    ) -> usize {
        self.graph.records.push(GraphRecord {
            digest,
            inputs,
            results,
        });
        self.graph.records.len() - 1
    }
}

/// Returns the digest of what a vertex reads of an input, if that is known or can be told from a
/// value that is there.
async fn content<V, C>(cell: &Arc<Cell<V, C>>, index: usize) -> Option<Digest>
where
    V: Clone + Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    if let Some(known) = cell.contents[index].peek() {
        return Some(known);
    }
    let value = value(&cell.inputs[index]).await?;
    cell.content_digest(index, Some(value)).await.ok()
}

async fn result<V, C>(input: &Input<V, C>) -> Option<GraphResult<V>>
where
    V: Clone + Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    let realised = value(input).await?;
    let (own, imported) = input.cell.latest(realised.key);
    Some(GraphResult {
        value: realised.value.clone(),
        created: own.or(imported).unwrap_or_else(SystemTime::now),
    })
}

/// Returns the value of an output: as made or found in this build, else from a record.
async fn value<V, C>(input: &Input<V, C>) -> Option<Arc<Realised<V>>>
where
    V: Clone + Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    let output = input.cell.output(input.output);
    if let Some(made) = output.result.peek() {
        return Some(made);
    }
    for keys in [output.fast_keys.peek(), output.slow_keys.peek()] {
        for key in keys.iter().flat_map(|keys| keys.iter()) {
            if let Some(found) = input.cell.load_record(*key).await {
                return Some(Arc::new(found));
            }
        }
    }
    None
}

fn copy<V, C>(input: &Input<V, C>) -> Input<V, C> {
    Input {
        cell: Arc::clone(&input.cell),
        output: input.output,
    }
}

fn place<V, C>(input: &Input<V, C>) -> Place {
    (Arc::as_ptr(&input.cell).addr(), input.output)
}

/// Returns all outputs below the roots and themselves, each once, inputs first; a loop, because
/// graphs may be deep.
fn inputs_first<V, C>(roots: &[Input<V, C>]) -> Vec<Input<V, C>> {
    let mut order = Vec::new();
    let mut visited = HashSet::new();
    let mut path: Vec<(Input<V, C>, usize)> = Vec::new();
    for root in roots {
        if visited.insert(place(root)) {
            path.push((copy(root), 0));
        }
        while let Some((input, next)) = path.last_mut() {
            let below = input.cell.inputs.get(*next).map(copy);
            *next += 1;
            match below {
                Some(below) if visited.insert(place(&below)) => path.push((below, 0)),
                Some(_) => {}
                None => order.extend(path.pop().map(|(input, _)| input)),
            }
        }
    }
    order
}
