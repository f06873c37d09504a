//! Solvers and the builds that use them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use lamina_types::CacheGraph;
use lamina_types::Digest;
use tokio::sync::mpsc::UnboundedSender;

use crate::backlog::EventSender;
use crate::cell::Cell;
use crate::cell::Input;
use crate::error::SolveError;
use crate::events::Event;
use crate::export::CacheMode;
use crate::export::Export;
use crate::feed::Build;
use crate::graph::Edge;
use crate::imports::Import;
use crate::life::Interest;
use crate::memo::Failure;
use crate::op::ResultStore;
use crate::shared::Shared;
use crate::step::StepHandle;
use crate::store::CacheStore;
use crate::stream::Stream;

/// Solves graphs; clones share everything.
pub struct Solver<V, C>(Arc<Shared<V, C>>);

/// How a solver works.
#[derive(Clone, Copy, Debug)]
pub struct SolverOptions {
    /// How many ops that take a slot run at once; at least one does.
    pub slots: usize,
}

impl<V, C> Clone for Solver<V, C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V: Clone + Send + Sync + 'static, C: Send + Sync + 'static> Solver<V, C> {
    /// Makes a solver over a table of keys and a store of results.
    #[must_use]
    pub fn new(
        cache: Arc<dyn CacheStore>,
        results: Arc<dyn ResultStore<V>>,
        options: SolverOptions,
    ) -> Self {
        Self(Arc::new(Shared::new(cache, results, options.slots)))
    }

    /// Begins a build: its vertices are shared with other builds where they are equal.
    #[must_use]
    pub fn job(&self, context: Arc<C>, events: UnboundedSender<Event>) -> Job<V, C> {
        self.job_with(context, events.into())
    }

    /// The same for a watcher that may say how far behind it is.
    #[must_use]
    pub fn job_with(&self, context: Arc<C>, events: EventSender) -> Job<V, C> {
        let stream = Arc::new(Stream::new(events));
        Job {
            shared: Arc::clone(&self.0),
            build: Arc::new(Build {
                number: self.0.number_build(),
                context,
                stream,
            }),
            cells: Mutex::default(),
            imports: Mutex::default(),
        }
    }
}

impl<V, C> Solver<V, C> {
    /// Waits until no op works any more. Ops that were cancelled clean up after the builds that
    /// left: await this before the process ends, so that nothing is left behind.
    pub async fn settled(&self) {
        self.0.calls.wait().await;
    }
}

/// A build. It keeps every value that it has seen until it is dropped; then its waiters leave, and
/// what it started and did not complete is shown as cancelled (CSTA-07).
pub struct Job<V, C> {
    shared: Arc<Shared<V, C>>,
    build: Arc<Build<C>>,
    cells: Mutex<HashMap<Digest, Arc<Cell<V, C>>>>,
    imports: Mutex<Vec<Arc<Import<V>>>>,
}

impl<V: Clone + Send + Sync + 'static, C: Send + Sync + 'static> Job<V, C> {
    /// Solves one edge. May be called many times and concurrently. Dropping the future leaves;
    /// work for which nobody waits any more is cancelled.
    ///
    /// # Errors
    /// [`SolveError`] of the first vertex that failed.
    pub async fn solve(&self, edge: &Edge<V, C>) -> Result<V, SolveError> {
        let root = self.load(edge);
        let interest = Interest::new(&root.cell);
        let outcome = root.result().await;
        drop(interest);
        match outcome {
            Ok(realised) => Ok(realised.value.clone()),
            Err(Failure::Failed(error)) => Err(error),
            Err(Failure::Cancelled | Failure::Superseded) => {
                let vertex = &edge.vertex;
                Err(SolveError::cancelled(vertex.digest, &vertex.name))
            }
        }
    }

    /// Begins a step that is no vertex of a graph (an export, a metadata look-up).
    pub fn step(&self, digest: Digest, name: &str) -> StepHandle {
        StepHandle::start(Arc::clone(&self.build.stream), digest, name)
    }

    /// Looks in `import` too, after what is known here, for all that is solved from now on. It is
    /// used as long as the build exists.
    pub fn import(&self, import: Import<V>) {
        let mut imports = self.imports.lock().unwrap_or_else(PoisonError::into_inner);
        imports.push(Arc::new(import));
    }

    /// Returns what is known of `edges`, which were solved before: the keys of all that is below,
    /// and results as `mode` wants. `overrides` says of vertices, by digest, whether their results
    /// are wanted whatever the mode.
    ///
    /// Runs nothing and never fails: what is not known is left out.
    pub async fn cache_graph(
        &self,
        edges: &[Edge<V, C>],
        mode: CacheMode,
        overrides: &HashMap<Digest, bool>,
    ) -> CacheGraph<V> {
        let roots = edges.iter().map(|edge| self.load(edge)).collect();
        Export::new(mode, overrides).run(roots).await
    }

    /// Takes the graph's cells into this build; returns the edge in them.
    fn load(&self, edge: &Edge<V, C>) -> Input<V, C> {
        let loaded = self.shared.load(&edge.vertex, &self.build);
        let root = Input {
            cell: Arc::clone(&loaded[&Arc::as_ptr(&edge.vertex)]),
            output: edge.output,
        };
        let imports = self.imports.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.values().for_each(|cell| cell.imports.add(&imports));
        drop(imports);
        let mut known = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(loaded.into_values().map(|cell| (cell.key, cell)));
        root
    }
}

impl<V, C> Drop for Job<V, C> {
    fn drop(&mut self) {
        self.build.stream.close();
        let cells = self.cells.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(std::mem::take(cells));
        self.shared.purge();
    }
}

impl<V, C> std::fmt::Debug for Solver<V, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Solver").finish_non_exhaustive()
    }
}

impl<V, C> std::fmt::Debug for Job<V, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}
