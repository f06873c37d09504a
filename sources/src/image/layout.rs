//! `oci-layout://`: images from folders of the client (row SRC-33).
//!
//! ```text
//! oci-layout://<name>@sha256:<hex>
//! ```
//! The name is what the client calls the folder, unless the attribute `oci.store` has another one.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use async_trait::async_trait;
use lamina_content::Descriptor;
use lamina_content::Index;
use lamina_content::REF_NAME;
use lamina_registry::MAX_MANIFEST_BYTES;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::IoContext;
use rustix::fs::OFlags;

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

const SCHEME: &str = "oci-layout";

/// Another annotation under which tools keep the full name of an image.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Images from OCI layouts of the client.
pub struct OciLayoutSource(ImageStore);

impl OciLayoutSource {
    pub(crate) const fn new(images: ImageStore) -> Self {
        Self(images)
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
        let dir = context.session.oci_layout(&name).await?;
        let (folder, store) = (dir.clone(), name.clone());
        let read = move |_: &CancelToken| read_document(&store, &folder, &digest);
        let bytes = self.0.blocking.run(&context.cancel, read).await?;
        let reference = format!("{name}@{digest}");
        let root = Document::parse(&reference, digest, &bytes)?.describe(&bytes);
        self.0.content.put(&bytes)?;
        let found = Found {
            reference,
            origin: Origin::Layout { name, dir },
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
        let PinnedOrigin::Layout(name) = &image.origin else {
            return Err(wrong());
        };
        // The folder is asked for only if something is missing from the stores.
        let complete = image.layers.iter().all(|layer| {
            let known = self.0.layers.layer_by_diff_id(layer.diff_id, layer.chain);
            known.is_some() || self.0.content.contains(&layer.blob.digest)
        });
        let origin = if complete {
            Origin::Store
        } else {
            Origin::Layout {
                name: name.clone(),
                dir: context.session.oci_layout(name).await?,
            }
        };
        self.0.unpack(image, &origin, context).await
    }
}

/// Opens a blob of a layout: a regular file, whatever else may have its name.
pub(super) fn open_blob(name: &str, dir: &Path, digest: &Digest) -> Result<File, SourceError> {
    let path = dir.join("blobs/sha256").join(digest.hex());
    let file = open_regular(&path)?;
    file.ok_or_else(|| SourceError::Layout {
        layout: name.to_owned(),
        reason: format!("{digest} is not there"),
    })
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

fn read_document(name: &str, dir: &Path, digest: &Digest) -> Result<Vec<u8>, SourceError> {
    let file = open_blob(name, dir, digest)?;
    let bytes = read_bounded(name, file, &digest.to_string())?;
    let found = Digest::of(&bytes);
    if found != *digest {
        return Err(SourceError::Layout {
            layout: name.to_owned(),
            reason: format!("{digest} has digest {found}"),
        });
    }
    Ok(bytes)
}

fn read_bounded(name: &str, file: File, what: &str) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    file.take(MAX_MANIFEST_BYTES + 1)
        .read_to_end(&mut bytes)
        .at(what)?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(SourceError::Layout {
            layout: name.to_owned(),
            reason: format!("{what} is larger than {MAX_MANIFEST_BYTES} bytes"),
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
