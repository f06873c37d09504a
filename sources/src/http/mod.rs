//! `http://` and `https://`: one file from a server, or from the client (rows SRC-27 to SRC-31).
//!
//! Resolving downloads the file, because its digest is what results made from it are cached by;
//! only a build that states the digest is keyed without the network. The layer of the download is
//! the snapshot. What a server gave with an entity tag is remembered, so that the next build only
//! asks whether it is still the same, or not even that if it states the digest.
//!
//! The host `buildkit-session` is no host: what is there is read from the client over the session
//! (row SVC-17), as contexts and Dockerfiles on standard input are.

mod attrs;
mod fetch;
mod layer;
mod memory;
mod name;
mod secret;

use async_trait::async_trait;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_types::Blocking;
use lamina_types::LayerId;

use crate::Pinned;
use crate::PinnedKind;
use crate::Source;
use crate::SourceConfig;
use crate::SourceContext;
use crate::SourceError;
use crate::SourceRequest;
use crate::clients::until_cancelled;

use attrs::Held;
pub use attrs::HttpWish;
pub use attrs::PinnedHttp;
use fetch::Clients;
use memory::Memory;

/// Files from servers and from the client.
pub struct HttpSource {
    scheme: &'static str,
    layers: SnapshotStore,
    blocking: Blocking,
    clients: Clients,
    memory: Memory,
}

impl HttpSource {
    /// `scheme` is `http` or `https`; both share all they remember.
    pub(crate) fn new(scheme: &'static str, config: &SourceConfig) -> Self {
        Self {
            scheme,
            layers: config.layers.clone(),
            blocking: config.blocking.clone(),
            clients: Clients::default(),
            memory: Memory::new(config.state.join("http")),
        }
    }

    pub(crate) fn retained_layers(&self) -> Vec<LayerId> {
        self.memory.layers()
    }
}

#[async_trait]
impl Source for HttpSource {
    fn scheme(&self) -> &'static str {
        self.scheme
    }

    async fn resolve(
        &self,
        request: &SourceRequest,
        context: &SourceContext,
    ) -> Result<Pinned, SourceError> {
        let (wish, checksum) = HttpWish::parse(request)?;
        let file = match checksum {
            Some(digest) => PinnedHttp {
                filename: name::of(&wish.url, wish.filename.as_deref(), None),
                digest,
                last_modified: None,
                wish,
                held: Held::default(),
            },
            None => {
                let known = self.known(&wish, context).await?;
                until_cancelled(&context.cancel, self.fetch(wish, known, context)).await?
            }
        };
        Ok(Pinned {
            identifier: request.identifier.clone(),
            cache_key: file.cache_key(),
            key_is_content: true,
            pin: Some(file.digest),
            kind: PinnedKind::Http(Box::new(file)),
        })
    }

    async fn snapshot(
        &self,
        pinned: &Pinned,
        context: &SourceContext,
    ) -> Result<LayerStack, SourceError> {
        let PinnedKind::Http(file) = &pinned.kind else {
            return Err(SourceError::WrongKind {
                identifier: pinned.identifier.clone(),
                scheme: self.scheme,
            });
        };
        if let Some(layer) = file.held.layer() {
            return Ok(LayerStack::new([layer.clone()]));
        }
        let known = self.known(&file.wish, context).await?;
        if let Some((known, layer)) = &known
            && known.digest == file.digest
        {
            return Ok(LayerStack::new([layer.clone()]));
        }
        let fetch = self.fetch(file.wish.clone(), known, context);
        let found = until_cancelled(&context.cancel, fetch).await?;
        if found.digest != file.digest {
            return Err(SourceError::WrongFile {
                found: found.digest,
                wanted: file.digest,
            });
        }
        Ok(LayerStack::new(found.held.layer().cloned()))
    }
}
