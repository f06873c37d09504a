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
//! the file system can, never linked. Of a client at the other end of a session only what is new is
//! asked for; see [`remote`].

mod attrs;
mod build;
mod copy;
mod index;
mod remote;
mod shared;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_session::LocalFiles;
use lamina_session::LocalOwner;
use lamina_session::LocalRequest;
use lamina_session::Session;
use lamina_session::SessionError;
use lamina_session::SessionManager;
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
use crate::SourceConfig;
use crate::SourceContext;
use crate::SourceError;
use crate::SourceRequest;
use crate::clients::session_of;
use crate::clients::until_cancelled;
use crate::keyed::KeyedLocks;
use crate::report::Action;

pub use attrs::PinnedLocal;
use build::Transfer;
pub(crate) use build::copy_all;
use index::IndexFolder;
use remote::RemoteTransfer;

const SCHEME: &str = "local";

/// Directories of the client.
pub struct LocalSource {
    layers: SnapshotStore,
    blocking: Blocking,
    sessions: SessionManager,
    indexes: IndexFolder,
    transfers: KeyedLocks<Digest>,
}

impl LocalSource {
    pub(crate) fn new(config: &SourceConfig) -> Self {
        Self {
            layers: config.layers.clone(),
            blocking: config.blocking.clone(),
            sessions: config.sessions.clone(),
            indexes: IndexFolder::new(config.state.join("local")),
            transfers: KeyedLocks::default(),
        }
    }

    /// Opens the directory at the session that the build names, else at the build's own; also if
    /// the named one is gone (row SRC-09).
    async fn open(
        &self,
        local: &PinnedLocal,
        context: &SourceContext,
    ) -> Result<Opened, SourceError> {
        let request = local.request();
        let session = session_of(&self.sessions, local.session.as_deref(), context).await;
        let opened = open_at(&session, &request).await;
        match opened {
            Err(error) if session.id() != context.session.id() && error.is_gone() => {
                Ok(open_at(&context.session, &request).await?)
            }
            opened => Ok(opened?),
        }
    }

    fn host_transfer(
        &self,
        local: &PinnedLocal,
        key: &Digest,
        (dir, owner): (PathBuf, LocalOwner),
        action: Action,
    ) -> Transfer {
        Transfer {
            store: self.layers.clone(),
            index: self.indexes.file(key),
            local: local.clone(),
            dir,
            owner,
            action,
        }
    }

    fn remote_transfer(
        &self,
        local: &PinnedLocal,
        key: &Digest,
        action: Arc<Action>,
    ) -> RemoteTransfer {
        RemoteTransfer {
            store: self.layers.clone(),
            blocking: self.blocking.clone(),
            index: self.indexes.file(key),
            local: local.clone(),
            action,
        }
    }

    pub(crate) fn retained_layers(&self) -> Vec<LayerId> {
        self.indexes.layers()
    }
}

async fn open_at(
    session: &Arc<dyn Session>,
    request: &LocalRequest,
) -> Result<Opened, SessionError> {
    Ok(Opened {
        files: session.local_files(request).await?,
        shared_key: session.shared_key().await?,
    })
}

/// A directory that a client opened.
struct Opened {
    /// The client across its sessions.
    shared_key: String,
    files: LocalFiles,
}

/// Names the transfers that can build on each other (rows SRC-12, SVC-03).
fn transfer_key(local: &PinnedLocal, opened: &Opened) -> Digest {
    let mut key = Sha256Hasher::new();
    for field in [&local.name, &local.shared_key_hint, &opened.shared_key] {
        key.update_field(field.as_bytes());
    }
    let kind = match &opened.files {
        LocalFiles::Host { owner, .. } => format!("{owner:?}"),
        LocalFiles::Remote(_) => "remote".to_owned(),
    };
    key.update_field(kind.as_bytes());
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
        let cancel = &context.cancel;
        let opened = until_cancelled(cancel, self.open(local, context)).await?;
        let key = transfer_key(local, &opened);
        let _only = until_cancelled(cancel, async { Ok(self.transfers.lock(key).await) }).await?;
        let id = format!("transferring {}:", local.name);
        let action = Action::start(&context.progress, id, "transferring", 0);
        let layer = match opened.files {
            LocalFiles::Host { path, owner } => {
                let transfer = self.host_transfer(local, &key, (path, owner), action);
                let work = move |cancel: &CancelToken| transfer.run(cancel);
                self.blocking.run(cancel, work).await?
            }
            LocalFiles::Remote(receiver) => {
                let action = Arc::new(action);
                let transfer = self.remote_transfer(local, &key, Arc::clone(&action));
                let layer = until_cancelled(cancel, transfer.run(receiver, cancel)).await?;
                action.done();
                layer
            }
        };
        Ok(LayerStack::new([layer]))
    }
}
