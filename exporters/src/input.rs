//! What is exported, and where to.

use std::collections::BTreeMap;
use std::sync::Arc;

use lamina_content::ContentStore;
use lamina_registry::RegistryClient;
use lamina_session::Session;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::Progress;

use crate::ExportError;

/// The file systems of a result.
#[derive(Clone)]
pub enum ExportRefs {
    /// One; empty for `FROM scratch` without layers.
    Single(LayerStack),
    /// One for each platform, by the ids that `refs.platforms` names (row RMD-03).
    ByPlatform(BTreeMap<String, LayerStack>),
}

/// A build's result.
#[derive(Clone)]
pub struct ExportInput {
    /// Its file systems.
    pub refs: ExportRefs,
    /// What the frontend says about it, by the keys of rows RMD-01 to RMD-08.
    pub metadata: BTreeMap<String, Vec<u8>>,
}

impl ExportInput {
    /// Returns a single result without metadata.
    #[must_use]
    pub fn single(stack: LayerStack) -> Self {
        Self {
            refs: ExportRefs::Single(stack),
            metadata: BTreeMap::new(),
        }
    }

    /// Says whether the result is a map by platform.
    #[must_use]
    pub fn is_map(&self) -> bool {
        matches!(self.refs, ExportRefs::ByPlatform(_))
    }

    /// Returns the file system with that platform id; a single result has it for every id.
    pub(crate) fn stack(&self, id: &str) -> Option<&LayerStack> {
        match &self.refs {
            ExportRefs::Single(stack) => Some(stack),
            ExportRefs::ByPlatform(stacks) => stacks.get(id),
        }
    }

    /// Returns metadata of a platform, else of the whole result.
    pub(crate) fn metadata_for(&self, key: &str, id: &str) -> Option<&[u8]> {
        self.metadata
            .get(&format!("{key}/{id}"))
            .or_else(|| self.metadata.get(key))
            .map(Vec::as_slice)
    }

    pub(crate) fn metadata_text(&self, key: &str) -> Option<String> {
        let value = self.metadata.get(key)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

/// What exporters work with.
#[derive(Clone)]
pub struct ExportContext {
    /// Layers.
    pub snapshots: SnapshotStore,
    /// Blobs and named images.
    pub content: ContentStore,
    /// Where images are pushed.
    pub registry: RegistryClient,
    /// The client, which offers the targets.
    pub session: Arc<dyn Session>,
    /// Where work on files runs.
    pub blocking: Blocking,
    /// Who watches.
    pub progress: Progress,
    /// Who may stop it.
    pub cancel: CancelToken,
}

impl ExportContext {
    /// Runs work on files.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&CancelToken) -> Result<T, ExportError> + Send + 'static,
    ) -> Result<T, ExportError> {
        self.blocking.run(&self.cancel, work).await
    }

    /// Stores a document.
    pub(crate) async fn put(&self, document: Vec<u8>) -> Result<(), ExportError> {
        let content = self.content.clone();
        let put = move |_: &CancelToken| Ok(content.put(&document).map(drop)?);
        self.run(put).await
    }

    /// Reads a document of at most `limit` bytes.
    pub(crate) async fn read(&self, digest: Digest, limit: u64) -> Result<Vec<u8>, ExportError> {
        let content = self.content.clone();
        self.run(move |_| Ok(content.read(&digest, limit)?)).await
    }
}
