//! `oci-layout://`: images from OCI layouts of the client (row SRC-33).
//!
//! ```text
//! oci-layout://<name>@sha256:<hex>
//! ```
//! The name is what the client calls the layout, unless the attribute `oci.store` has another one;
//! `oci.session` names the client, if it is not the build's own.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_content::Descriptor;
use lamina_content::Index;
use lamina_content::REF_NAME;
use lamina_registry::MAX_MANIFEST_BYTES;
use lamina_session::BlobStore;
use lamina_session::SessionManager;
use lamina_session::StoreId;
use lamina_snapshotter::LayerStack;
use lamina_types::Digest;
use lamina_types::IoContext;
use rustix::fs::OFlags;
use tokio::io::AsyncReadExt;

use super::docker::layer_limit;
use super::document::Document;
use super::resolve;
use super::resolve::Found;
use super::resolve::Wanted;
use super::store::ImageStore;
use super::store::Origin;
use crate::Pinned;
use crate::PinnedKind;
use crate::PinnedOrigin;
use crate::Source;
use crate::SourceContext;
use crate::SourceError;
use crate::SourceRequest;
use crate::clients::session_of;
use crate::clients::until_cancelled;

const SCHEME: &str = "oci-layout";

/// Another annotation under which tools keep the full name of an image.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Images from OCI layouts of the client.
pub struct OciLayoutSource(ImageStore, SessionManager);

impl OciLayoutSource {
    pub(crate) const fn new(images: ImageStore, sessions: SessionManager) -> Self {
        Self(images, sessions)
    }

    /// Opens the store at the session that the build names, else at the build's own.
    async fn open(
        &self,
        store: &str,
        session: Option<&str>,
        context: &SourceContext,
    ) -> Result<Arc<dyn BlobStore>, SourceError> {
        let store = StoreId::Layout(store.to_owned());
        let open = async {
            let session = session_of(&self.1, session, context).await;
            Ok(session.blobs(&store).await?)
        };
        until_cancelled(&context.cancel, open).await
    }
}

/// Splits the rest of an identifier into the name of the store and the digest.
fn parse(request: &SourceRequest) -> Result<(String, Digest), SourceError> {
    let rest = request.rest()?;
    let bad = |reason: &str| SourceError::Layout {
        layout: rest.to_owned(),
        reason: reason.to_owned(),
    };
    let (name, digest) = rest
        .split_once('@')
        .ok_or_else(|| bad("a digest is required"))?;
    let digest = digest
        .parse()
        .map_err(|_| bad("expected sha256: and 64 hex digits after the @"))?;
    // A tag beside the digest only tells people what it was.
    let name = match name.rfind(':') {
        Some(at) if !name[at..].contains('/') => &name[..at],
        _ => name,
    };
    let store = request.get("oci.store").unwrap_or(name);
    Ok((store.to_owned(), digest))
}

#[async_trait]
impl Source for OciLayoutSource {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    async fn resolve(
        &self,
        request: &SourceRequest,
        context: &SourceContext,
    ) -> Result<Pinned, SourceError> {
        let (name, digest) = parse(request)?;
        let wanted = Wanted {
            platform: request.platform(),
            layer_limit: layer_limit(request, "oci.layerlimit")?,
        };
        let session = request.get("oci.session").map(str::to_owned);
        let blobs = self.open(&name, session.as_deref(), context).await?;
        let read = read_document(&name, blobs.as_ref(), &digest);
        let bytes = until_cancelled(&context.cancel, read).await?;
        let reference = format!("{name}@{digest}");
        let root = Document::parse(&reference, digest, &bytes)?.describe(&bytes);
        self.0.content.put(&bytes)?;
        let found = Found {
            reference,
            origin: Origin::Layout {
                name,
                session,
                blobs,
            },
            root,
            bytes,
        };
        let image = self.0.pin(found, &wanted, context).await?;
        Ok(resolve::pinned(request.identifier.clone(), image))
    }

    async fn snapshot(
        &self,
        pinned: &Pinned,
        context: &SourceContext,
    ) -> Result<LayerStack, SourceError> {
        let wrong = || SourceError::WrongKind {
            identifier: pinned.identifier.clone(),
            scheme: SCHEME,
        };
        let PinnedKind::Image(image) = &pinned.kind else {
            return Err(wrong());
        };
        let PinnedOrigin::Layout { store, session } = &image.origin else {
            return Err(wrong());
        };
        // The client is asked only if something is missing from the stores.
        let complete = image.layers.iter().all(|layer| {
            let known = self.0.layers.layer_by_diff_id(layer.diff_id, layer.chain);
            known.is_some() || self.0.content.contains(&layer.blob.digest)
        });
        let origin = if complete {
            Origin::Store
        } else {
            Origin::Layout {
                name: store.clone(),
                session: session.clone(),
                blobs: self.open(store, session.as_deref(), context).await?,
            }
        };
        self.0.unpack(image, &origin, context).await
    }
}

/// `None` if there is no such file, or it is not a file.
fn open_regular(path: &Path) -> Result<Option<File>, SourceError> {
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options().read(true).custom_flags(nonblock).open(path);
    let file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.at(path.display())?,
    };
    let regular = file.metadata().at(path.display())?.is_file();
    Ok(regular.then_some(file))
}

/// Reads a manifest or index of a client, which must have the digest.
async fn read_document(
    name: &str,
    blobs: &dyn BlobStore,
    digest: &Digest,
) -> Result<Vec<u8>, SourceError> {
    let fail = |reason: String| SourceError::Layout {
        layout: name.to_owned(),
        reason,
    };
    if blobs.size(digest).await?.is_none() {
        return Err(fail(format!("{digest} is not there")));
    }
    let mut bytes = Vec::new();
    let read = blobs.read(digest, 0).await?.take(MAX_MANIFEST_BYTES + 1);
    { read }.read_to_end(&mut bytes).await.at(digest)?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(fail(too_large(digest)));
    }
    match Digest::of(&bytes) {
        found if found == *digest => Ok(bytes),
        found => Err(fail(format!("{digest} has digest {found}"))),
    }
}

fn too_large(what: impl std::fmt::Display) -> String {
    format!("{what} is larger than {MAX_MANIFEST_BYTES} bytes")
}

fn read_bounded(name: &str, file: File, what: &str) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    Read::take(file, MAX_MANIFEST_BYTES + 1)
        .read_to_end(&mut bytes)
        .at(what)?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(SourceError::Layout {
            layout: name.to_owned(),
            reason: too_large(what),
        });
    }
    Ok(bytes)
}

/// Returns what a layout calls `tag`; without a tag the only image, or else the one called
/// `latest`. Command lines and frontends turn tags into digests by this.
///
/// # Errors
/// [`SourceError::Layout`] if the folder is no OCI layout, or has no such image, or several.
pub fn find_in_layout(dir: &Path, tag: Option<&str>) -> Result<Descriptor, SourceError> {
    let layout = dir.display().to_string();
    let fail = |reason: String| SourceError::Layout {
        layout: layout.clone(),
        reason,
    };
    let path: PathBuf = dir.join("index.json");
    let file = open_regular(&path)?.ok_or_else(|| fail("it has no index.json".to_owned()))?;
    let bytes = read_bounded(&layout, file, "index.json")?;
    let index: Index = serde_json::from_slice(&bytes)
        .map_err(|error| fail(format!("malformed index.json: {error}")))?;
    let named = |wanted: &str| {
        let mut manifests = index.manifests.iter();
        manifests
            .find(|manifest| is_named(manifest, wanted))
            .cloned()
    };
    match (tag, index.manifests.as_slice()) {
        (Some(tag), _) => named(tag).ok_or_else(|| fail(format!("no image is called {tag:?}"))),
        (None, [only]) => Ok(only.clone()),
        (None, all) => named("latest")
            .ok_or_else(|| fail(format!("it has {} images; name one of them", all.len()))),
    }
}

fn is_named(manifest: &Descriptor, wanted: &str) -> bool {
    let has = |key, matches: &dyn Fn(&str) -> bool| {
        let value = manifest.annotations.get(key).map(String::as_str);
        value.is_some_and(matches)
    };
    has(REF_NAME, &|name| name == wanted)
        || has(CONTAINERD_NAME, &|name| {
            name == wanted || name.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted)
        })
}
