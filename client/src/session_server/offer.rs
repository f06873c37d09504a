//! What all services of a session share.

use std::collections::BTreeSet;
use std::sync::Arc;

use lamina_session::Session;
use lamina_session::SessionError;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use lamina_types::IoContext;

use super::error::ServeError;

/// Threads that read and write files: enough to keep a disk busy.
const THREADS: usize = 4;

/// A session with the means to serve it. Clones share them.
#[derive(Clone)]
pub(super) struct Offer {
    pub(super) session: Arc<dyn Session>,
    /// Exporters whose directory shall hold nothing but the result.
    pub(super) mirrored: Arc<BTreeSet<usize>>,
    blocking: Blocking,
    stop: CancelToken,
}

impl Offer {
    pub(super) fn new(
        session: Arc<dyn Session>,
        mirrored: BTreeSet<usize>,
        stop: CancelToken,
    ) -> Result<Self, SessionError> {
        Ok(Self {
            session,
            mirrored: Arc::new(mirrored),
            blocking: Blocking::new(THREADS).at("threads for files")?,
            stop,
        })
    }

    /// Runs work on files, on a thread for it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&CancelToken) -> Result<T, ServeError> + Send + 'static,
    ) -> Result<T, ServeError> {
        self.blocking.run(&self.stop, work).await
    }
}
