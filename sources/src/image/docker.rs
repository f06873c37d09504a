//! `docker-image://`: images from registries (rows SRC-02 to SRC-07).

use async_trait::async_trait;
use lamina_content::Descriptor;
use lamina_registry::ImageReference;
use lamina_registry::MAX_MANIFEST_BYTES;
use lamina_snapshotter::LayerStack;
use lamina_types::Digest;

use super::PinnedImage;
use super::PinnedOrigin;
use super::ResolvedConfig;
use super::resolve;
use super::resolve::Found;
use super::resolve::Wanted;
use super::store::ImageStore;
use super::store::Origin;
use crate::Pinned;
use crate::PinnedKind;
use crate::Source;
use crate::SourceContext;
use crate::SourceError;
use crate::SourceRequest;
use crate::report::Action;

const SCHEME: &str = "docker-image";

/// Images from registries, or from the content store if they are there by name.
pub struct DockerImageSource(ImageStore);

/// Where an image is looked for (row SRC-03).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ResolveMode {
    /// The registry; the content store only if that fails.
    Default,
    /// The registry.
    Pull,
    /// The content store; the registry if it is not there.
    Local,
}

impl ResolveMode {
    fn of(request: &SourceRequest) -> Result<Self, SourceError> {
        match request.get("image.resolvemode") {
            None | Some("default") => Ok(Self::Default),
            Some("pull") => Ok(Self::Pull),
            Some("local") => Ok(Self::Local),
            Some(_) => Err(request.bad_attr("image.resolvemode", "invalid resolvemode")),
        }
    }
}

impl DockerImageSource {
    pub(crate) const fn new(images: ImageStore) -> Self {
        Self(images)
    }

    pub(crate) fn config_of(&self, image: &PinnedImage) -> Result<ResolvedConfig, SourceError> {
        self.0.config_of(image)
    }

    async fn find(
        &self,
        reference: &ImageReference,
        mode: ResolveMode,
        context: &SourceContext,
    ) -> Result<Found, SourceError> {
        if mode == ResolveMode::Local
            && let Some(found) = self.find_stored(reference)?
        {
            return Ok(found);
        }
        match self.find_remote(reference, context).await {
            Err(error) if mode == ResolveMode::Default && !error.is_cancelled() => {
                let stored = self.find_stored(reference)?;
                if stored.is_some() {
                    tracing::debug!(%error, %reference, "using the stored image");
                }
                stored.ok_or(error)
            }
            found => found,
        }
    }

    /// Looks the image up by name, as the `image` exporter stores it.
    fn find_stored(&self, reference: &ImageReference) -> Result<Option<Found>, SourceError> {
        let Some(root) = self.0.content.image(&reference.to_string()) else {
            return Ok(None);
        };
        if !self.0.content.contains(&root.digest) {
            return Ok(None);
        }
        self.stored(reference, Origin::Store, root).map(Some)
    }

    fn stored(
        &self,
        reference: &ImageReference,
        origin: Origin,
        root: Descriptor,
    ) -> Result<Found, SourceError> {
        let bytes = self.0.content.read(&root.digest, MAX_MANIFEST_BYTES)?;
        Ok(Found {
            reference: reference.to_string(),
            origin,
            root,
            bytes,
        })
    }

    /// Asks the registry what the reference names, and for the document only if it is not known.
    async fn find_remote(
        &self,
        reference: &ImageReference,
        context: &SourceContext,
    ) -> Result<Found, SourceError> {
        let origin = Origin::Registry(reference.clone());
        let (registry, session) = (&self.0.registry, &context.session);
        let described = registry
            .resolve_descriptor(reference, session, &context.cancel)
            .await?;
        if let Some(root) = described.filter(|root| self.0.content.contains(&root.digest)) {
            return self.stored(reference, origin, root);
        }
        let resolved = registry
            .resolve(reference, session, &context.cancel)
            .await?;
        self.0.content.put(&resolved.bytes)?;
        Ok(Found {
            reference: reference.to_string(),
            origin,
            root: resolved.descriptor,
            bytes: resolved.bytes,
        })
    }
}

/// Returns the required digest (row SRC-06).
fn checksum(request: &SourceRequest) -> Result<Option<Digest>, SourceError> {
    let text = request.get("image.checksum");
    let parsed = text.map(str::parse::<Digest>).transpose();
    parsed.map_err(|error| request.bad_attr("image.checksum", error.to_string()))
}

/// Returns the number of layers wanted (row SRC-05).
pub(super) fn layer_limit(
    request: &SourceRequest,
    name: &'static str,
) -> Result<Option<usize>, SourceError> {
    let Some(text) = request.get(name) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(limit) if limit > 0 => Ok(Some(limit)),
        _ => Err(request.bad_attr(name, "expected a number above zero")),
    }
}

fn check_record_type(request: &SourceRequest) -> Result<(), SourceError> {
    match request.get("image.recordtype") {
        None | Some("regular" | "internal" | "frontend") => Ok(()),
        Some(_) => Err(request.bad_attr("image.recordtype", "invalid record type")),
    }
}

#[async_trait]
impl Source for DockerImageSource {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    async fn resolve(
        &self,
        request: &SourceRequest,
        context: &SourceContext,
    ) -> Result<Pinned, SourceError> {
        let reference: ImageReference = request.rest()?.parse()?;
        let mode = ResolveMode::of(request)?;
        let checksum = checksum(request)?;
        check_record_type(request)?;
        let wanted = Wanted {
            platform: request.platform(),
            layer_limit: layer_limit(request, "image.layerlimit")?,
        };
        let name = format!("resolve {reference}");
        let action = Action::start(&context.progress, name.clone(), &name, 0);
        let found = self.find(&reference, mode, context).await?;
        if let Some(wanted) = checksum.filter(|wanted| *wanted != found.root.digest) {
            return Err(SourceError::WrongChecksum {
                reference: reference.to_string(),
                wanted,
                found: found.root.digest,
            });
        }
        let image = self.0.pin(found, &wanted, context).await?;
        action.finish();
        Ok(resolve::pinned(format!("{SCHEME}://{reference}"), image))
    }

    async fn snapshot(
        &self,
        pinned: &Pinned,
        context: &SourceContext,
    ) -> Result<LayerStack, SourceError> {
        let PinnedKind::Image(image) = &pinned.kind else {
            return Err(SourceError::WrongKind {
                identifier: pinned.identifier.clone(),
                scheme: SCHEME,
            });
        };
        let origin = match &image.origin {
            PinnedOrigin::Registry(reference) => Origin::Registry(reference.parse()?),
            _ => Origin::Store,
        };
        self.0.unpack(image, &origin, context).await
    }
}
