//! A transfer from a client at the other end of a session (rows SVC-02 to SVC-05).
//!
//! Two halves work at the same time. The [`Pump`] talks to the client and never blocks: it
//! compares each entry with the last transfer and asks for what is new. The [`Writer`] makes the
//! layer on the pool, one batch at a time, and holds no thread while the client is silent.
//!
//! ```text
//! client ──packets──▶ Pump ──tasks, bounded in number and bytes──▶ Writer ──▶ sealed layer
//!        ◀──requests──
//! ```
//! As long as nothing differs the writer is not even started. Files are requested a few at a time,
//! so open files do not grow with the directory; and the receiver never waits for a client to read
//! requests while its data waits for us, which would lock both sides up.

mod compare;
mod pump;
mod writer;

use lamina_session::FileReceiver;
use lamina_snapshotter::Layer;
use lamina_snapshotter::SnapshotStore;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use tokio::sync::mpsc;

use super::attrs::PinnedLocal;
use super::index::IndexEntry;
use super::index::IndexFile;
use super::shared;
use crate::SourceError;
use crate::report::Action;
use pump::Pump;
use writer::Task;
use writer::Writer;

/// Tasks between the halves, and tasks that are done in one go.
const QUEUE: usize = 256;

/// What a transfer needs.
pub(super) struct RemoteTransfer {
    pub(super) store: SnapshotStore,
    pub(super) blocking: Blocking,
    pub(super) index: IndexFile,
    pub(super) local: PinnedLocal,
    pub(super) action: std::sync::Arc<Action>,
}

impl RemoteTransfer {
    /// Returns the layer, which is the one of last time if nothing has changed. If the client goes
    /// away half way, nothing is left.
    pub(super) async fn run(
        self,
        receiver: FileReceiver,
        cancel: &CancelToken,
    ) -> Result<Layer, SourceError> {
        let (local, index) = (self.local.clone(), self.index.clone());
        let store = self.store.clone();
        let load =
            move |_: &CancelToken| Ok::<_, SourceError>(shared::last(&local, &index, &store));
        let last = self.blocking.run(cancel, load).await?;
        let (layer, known) = last.unzip();
        let (tasks, work) = mpsc::channel(QUEUE);
        let pump = Pump::new(receiver, known, tasks).run();
        // An error of the writer ends both. One of the pump lets the writer come to its end, so
        // that nothing is left when it is reported.
        let pump = async { Ok(pump.await) };
        let made = self.write(work, layer.clone(), cancel);
        let (pumped, made) = tokio::try_join!(pump, made)?;
        if let Err(error) = pumped {
            self.discard(made, cancel).await?;
            return Err(error);
        }
        match (made, layer) {
            (Some(writer), _) => self.seal(writer, cancel).await,
            (None, Some(layer)) => Ok(layer),
            (None, None) => {
                let start = self.starter(None);
                let writer = self.blocking.run(cancel, move |_: &CancelToken| start());
                self.seal(writer.await?, cancel).await
            }
        }
    }

    /// Returns what starts the layer. That makes folders, so it is work for the pool.
    fn starter(
        &self,
        last: Option<Layer>,
    ) -> impl FnOnce() -> Result<Writer, SourceError> + Send + use<> {
        let description = format!("local source for {}", self.local.name);
        let (store, action) = (self.store.clone(), self.action.clone());
        move || Writer::start(&store, description, last, action)
    }

    /// Does tasks until there are no more; `None` if there were none at all.
    async fn write(
        &self,
        mut work: mpsc::Receiver<Task>,
        last: Option<Layer>,
        cancel: &CancelToken,
    ) -> Result<Option<Writer>, SourceError> {
        let mut writer: Option<Writer> = None;
        let mut batch = Vec::with_capacity(QUEUE);
        while work.recv_many(&mut batch, QUEUE).await > 0 {
            let (current, start) = (writer.take(), self.starter(last.clone()));
            let mut tasks = std::mem::take(&mut batch);
            let apply = move |cancel: &CancelToken| {
                let mut current = current.map_or_else(start, Ok)?;
                current.apply(&mut tasks, cancel)?;
                Ok::<_, SourceError>((current, tasks))
            };
            let (current, tasks) = self.blocking.run(cancel, apply).await?;
            writer = Some(current);
            batch = tasks;
        }
        Ok(writer)
    }

    /// Removing what was made takes as long as making it, so it is work for the pool.
    async fn discard(
        &self,
        writer: Option<Writer>,
        cancel: &CancelToken,
    ) -> Result<(), SourceError> {
        let discard = move |_: &CancelToken| {
            drop(writer);
            Ok(())
        };
        self.blocking.run(cancel, discard).await
    }

    async fn seal(&self, writer: Writer, cancel: &CancelToken) -> Result<Layer, SourceError> {
        let index = self.index.clone();
        let seal = move |cancel: &CancelToken| {
            let (layer, entries): (Layer, Vec<IndexEntry>) = writer.finish(cancel)?;
            shared::remember(&index, &layer, entries);
            Ok::<_, SourceError>(layer)
        };
        self.blocking.run(cancel, seal).await
    }
}
