//! What all builds of one solver share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use lamina_types::Digest;
use tokio_util::task::TaskTracker;

use crate::cell::Cell;
use crate::cell::Input;
use crate::cell::cell_key;
use crate::feed::Build;
use crate::feed::Face;
use crate::flight::Flights;
use crate::graph::Edge;
use crate::graph::Vertex;
use crate::op::ResultStore;
use crate::slots::BuildNumber;
use crate::slots::Slots;
use crate::store::CacheStore;

/// The state of a solver.
pub(crate) struct Shared<V, C> {
    pub(crate) cache: Arc<dyn CacheStore>,
    pub(crate) results: Arc<dyn ResultStore<V>>,
    pub(crate) slots: Slots,
    pub(crate) flights: Flights<V, C>,
    /// Calls of ops that have not returned, whether or not somebody still waits for them.
    pub(crate) calls: TaskTracker,
    /// How many builds there have been.
    builds: AtomicU64,
    cells: Mutex<CellTable<V, C>>,
}

type CellTable<V, C> = HashMap<Digest, Weak<Cell<V, C>>>;

/// The cells that a build has loaded, by address of the vertex.
pub(crate) type Loaded<V, C> = HashMap<*const Vertex<V, C>, Arc<Cell<V, C>>>;

impl<V, C> Shared<V, C> {
    pub(crate) fn new(
        cache: Arc<dyn CacheStore>,
        results: Arc<dyn ResultStore<V>>,
        slots: usize,
    ) -> Self {
        let calls = TaskTracker::new();
        calls.close();
        Self {
            calls,
            cache,
            results,
            slots: Slots::new(slots),
            builds: AtomicU64::new(0),
            flights: Flights::default(),
            cells: Mutex::default(),
        }
    }

    /// Returns a number for a build that begins.
    pub(crate) fn number_build(&self) -> BuildNumber {
        self.builds.fetch_add(1, Ordering::Relaxed)
    }

    /// Forgets cells and flights that no build has any more.
    pub(crate) fn purge(&self) {
        self.cells().retain(|_, cell| cell.strong_count() > 0);
        self.flights.purge();
    }

    fn cells(&self) -> MutexGuard<'_, CellTable<V, C>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Send + Sync + 'static, C: Send + Sync + 'static> Shared<V, C> {
    /// Returns the cell of a vertex, and those of all vertices below it. They are announced to
    /// `build`, inputs first, and from then on it is told what happens to them.
    pub(crate) fn load(
        self: &Arc<Self>,
        root: &Arc<Vertex<V, C>>,
        build: &Arc<Build<C>>,
    ) -> Loaded<V, C> {
        let mut loaded = HashMap::new();
        for vertex in inputs_first(root) {
            let cell = self.cell(vertex, &loaded);
            let face = Face {
                name: vertex.name.clone(),
                progress_group: vertex.progress_group.clone(),
            };
            cell.feed.join(build, face);
            loaded.insert(Arc::as_ptr(vertex), cell);
        }
        loaded
    }

    /// Returns the cell of a vertex whose inputs are loaded. One that ignores the cache serves
    /// builds that do not, but not the other way round.
    fn cell(
        self: &Arc<Self>,
        vertex: &Arc<Vertex<V, C>>,
        loaded: &Loaded<V, C>,
    ) -> Arc<Cell<V, C>> {
        let inputs: Vec<_> = vertex
            .inputs
            .iter()
            .filter_map(|e| input(e, loaded))
            .collect();
        let fresh_key = cell_key(vertex, &inputs, true);
        let mut cells = self.cells();
        if let Some(cell) = cells.get(&fresh_key).and_then(Weak::upgrade) {
            return cell;
        }
        let key = cell_key(vertex, &inputs, vertex.ignore_cache);
        if let Some(cell) = cells.get(&key).and_then(Weak::upgrade) {
            return cell;
        }
        let cell = Cell::new(Arc::clone(self), Arc::clone(vertex), inputs, key);
        let cell = Arc::new(cell);
        cells.insert(key, Arc::downgrade(&cell));
        cell
    }
}

fn input<V, C>(edge: &Edge<V, C>, loaded: &Loaded<V, C>) -> Option<Input<V, C>> {
    let cell = loaded.get(&Arc::as_ptr(&edge.vertex))?;
    Some(Input {
        cell: Arc::clone(cell),
        output: edge.output,
    })
}

/// Returns the vertices below `root` and itself, each once, inputs first; a loop, because graphs
/// may be deep.
fn inputs_first<V, C>(root: &Arc<Vertex<V, C>>) -> Vec<&Arc<Vertex<V, C>>> {
    let mut order = Vec::new();
    let mut visited = std::collections::HashSet::from([Arc::as_ptr(root)]);
    let mut path = vec![(root, root.inputs.iter())];
    while let Some((vertex, inputs)) = path.last_mut() {
        match inputs.next() {
            Some(edge) if visited.insert(Arc::as_ptr(&edge.vertex)) => {
                path.push((&edge.vertex, edge.vertex.inputs.iter()));
            }
            Some(_) => {}
            None => {
                order.push(*vertex);
                path.pop();
            }
        }
    }
    order
}
