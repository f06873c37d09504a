//! What the solver asks of the work that it schedules.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::Progress;

/// Errors of ops are shared between all builds that wait for them.
pub type OpError = Arc<dyn std::error::Error + Send + Sync>;

/// What a vertex does. `V` is a result (cheap to clone); `C` is what a build brings along, its session.
///
/// Every call gets an [`OpContext`] and must end soon after the context's token is cancelled: the
/// solver waits for nothing else, but a slot stays taken until the call has returned. A panic in
/// a call becomes the vertex's error.
#[async_trait]
pub trait Op<V, C>: Send + Sync {
    /// Returns the op's own part of its cache key. May resolve things (a tag), must not run anything.
    ///
    /// # Errors
    /// What keeps the key from being known; it becomes the vertex's error.
    async fn cache_map(&self, context: &OpContext<C>) -> Result<CacheMap, OpError>;

    /// Returns the content key of input `input` as far as this op reads it; asked only where the
    /// cache map says `content`.
    ///
    /// # Errors
    /// What keeps the content from being read; it becomes the vertex's error.
    async fn content_digest(
        &self,
        input: usize,
        value: &V,
        context: &OpContext<C>,
    ) -> Result<Digest, OpError>;

    /// Runs; returns one value per output.
    ///
    /// # Errors
    /// Why the step failed. It is never remembered beyond the builds that saw it.
    async fn exec(&self, inputs: Vec<V>, context: &OpContext<C>) -> Result<Vec<V>, OpError>;

    /// Says whether running it takes one of the worker's slots (exec and file ops).
    fn takes_slot(&self) -> bool;

    /// Says whether its results are kept and found again. If not, it runs whenever its result is
    /// needed; what consumes it is found by its key all the same.
    fn is_recorded(&self) -> bool {
        true
    }
}

/// An op's own part of its cache key.
#[derive(Clone, Debug)]
pub struct CacheMap {
    /// Stands for everything about the op except its inputs.
    pub digest: Digest,
    /// One entry per input of the vertex; missing ones count as the default.
    pub inputs: Vec<InputKey>,
}

/// How one input takes part in the cache key.
#[derive(Clone, Default, Debug)]
pub struct InputKey {
    /// Distinguishes uses of one input (a path).
    pub selector: Option<Digest>,
    /// The op can name the input by content.
    pub content: bool,
}

/// Given to an op while it works.
pub struct OpContext<C> {
    /// Cancelled when nobody waits for the work any more.
    pub cancel: CancelToken,
    /// Shown to all builds that wait for the vertex.
    pub progress: Progress,
    builds: BuildList<C>,
}

/// Looks up who waits, each time it is asked.
type BuildList<C> = Arc<dyn Fn() -> Vec<Arc<C>> + Send + Sync>;

impl<C: Send + Sync + 'static> OpContext<C> {
    /// Makes a context of a fixed list of builds, for calling an op without a solver.
    #[must_use]
    pub fn new(cancel: CancelToken, progress: Progress, builds: Vec<Arc<C>>) -> Self {
        Self::live(cancel, progress, Arc::new(move || builds.clone()))
    }

    pub(crate) fn live(cancel: CancelToken, progress: Progress, builds: BuildList<C>) -> Self {
        Self {
            cancel,
            progress,
            builds,
        }
    }
}

impl<C> OpContext<C> {
    /// Returns the builds that wait for this vertex now (rows LLB-16, SES-07); never empty when
    /// work starts.
    #[must_use]
    pub fn builds(&self) -> Vec<Arc<C>> {
        (self.builds)()
    }
}

impl<C> fmt::Debug for OpContext<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpContext")
            .field("cancelled", &self.cancel.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// Turns results into records that survive a restart, and back.
#[async_trait]
pub trait ResultStore<V>: Send + Sync {
    /// Returns what [`ResultStore::load`] needs to find the value again. Equal values should give
    /// equal bytes: a record is identified by them.
    ///
    /// # Errors
    /// Why the value cannot be kept; the build goes on and the step is not cached.
    async fn save(&self, value: &V) -> Result<Vec<u8>, OpError>;

    /// Returns the value; `None` if what the record names is gone, then the record is forgotten.
    async fn load(&self, record: &[u8]) -> Option<V>;
}
