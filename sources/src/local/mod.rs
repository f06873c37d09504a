//! `local://`: directories of the client (rows SRC-08 to SRC-15).
//!
//! A transfer makes one sealed layer of the directory: what the patterns let through, owned as the
//! session says, nothing else changed. It costs what has changed since the last transfer of the
//! same source:
//!
//! - an *index* remembers each file's path, kind, size, times and inode, and the layer made of them;
//! - if nothing differs, that layer is the result;
//! - otherwise a new layer is made, in which unchanged files are links into the old one, so that
//!   they are neither read nor stored again.
//!
//! The user's own files may change at any time, so they are only ever read: copied by reflink where
//! the file system can, never linked.

mod attrs;
mod build;
mod copy;
mod filter;
mod follow;
mod host;
mod index;
mod walk;

use std::path::PathBuf;

use async_trait::async_trait;
use lamina_session::LocalOwner;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::LayerId;
use lamina_types::Sha256Hasher;

use crate::Pinned;
use crate::PinnedKind;
use crate::Source;
use crate::SourceContext;
use crate::SourceError;
use crate::SourceRequest;
use crate::keyed::KeyedLocks;
use crate::report::Action;

pub use attrs::PinnedLocal;
use build::Transfer;
use index::IndexFolder;

const SCHEME: &str = "local";

/// Directories of the client.
pub struct LocalSource {
    layers: SnapshotStore,
    blocking: Blocking,
    indexes: IndexFolder,
    transfers: KeyedLocks<Digest>,
}

impl LocalSource {
    pub(crate) fn new(layers: SnapshotStore, blocking: Blocking, state: PathBuf) -> Self {
        Self {
            layers,
            blocking,
            indexes: IndexFolder::new(state),
            transfers: KeyedLocks::default(),
        }
    }

    pub(crate) fn retained_layers(&self) -> Vec<LayerId> {
        self.indexes.layers()
    }
}

/// Names the transfers that can build on each other (rows SRC-12, SVC-03).
fn transfer_key(local: &PinnedLocal, shared_key: &str, owner: LocalOwner) -> Digest {
    let mut key = Sha256Hasher::new();
    for field in [&local.name, &local.shared_key_hint, shared_key] {
        key.update_field(field.as_bytes());
    }
    key.update_field(format!("{owner:?}").as_bytes());
    key.finish()
}

#[async_trait]
impl Source for LocalSource {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    async fn resolve(
        &self,
        request: &SourceRequest,
        context: &SourceContext,
    ) -> Result<Pinned, SourceError> {
        let local = PinnedLocal::parse(request)?;
        Ok(Pinned {
            identifier: request.identifier.clone(),
            cache_key: local.cache_key(context.session.id()),
            key_is_content: false,
            pin: None,
            kind: PinnedKind::Local(local),
        })
    }

    async fn snapshot(
        &self,
        pinned: &Pinned,
        context: &SourceContext,
    ) -> Result<LayerStack, SourceError> {
        let PinnedKind::Local(local) = &pinned.kind else {
            return Err(SourceError::WrongKind {
                identifier: pinned.identifier.clone(),
                scheme: SCHEME,
            });
        };
        let session = &context.session;
        let dir = session.local_dir(&local.name).await?;
        let owner = session.local_owner();
        let key = transfer_key(local, session.shared_key(), owner);
        let _only = self.transfers.lock(key).await;
        let id = format!("transferring {}:", local.name);
        let transfer = Transfer {
            store: self.layers.clone(),
            index: self.indexes.file(&key),
            local: local.clone(),
            dir,
            owner,
            action: Action::start(&context.progress, id, "transferring", 0),
        };
        let work = move |cancel: &CancelToken| transfer.run(cancel);
        let layer = self.blocking.run(&context.cancel, work).await?;
        Ok(LayerStack::new([layer]))
    }
}
