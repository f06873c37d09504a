//! OCI layouts on the user's side: what their `index.json` names.

use std::path::Path;

use lamina_content::ContentError;
use lamina_sources::SourceError;
use lamina_types::Digest;

/// Says why a layout cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error(transparent)]
    Image(#[from] SourceError),
    #[error(transparent)]
    Index(#[from] ContentError),
    #[error("the daemon describes what it wrote wrongly: {0}")]
    Descriptor(#[source] serde_json::Error),
}

/// Which image of a layout.
pub(crate) enum LayoutReference<'a> {
    Tag(Option<&'a str>),
    Digest(&'a str),
}

/// Cuts `DIR[:TAG|@DIGEST]`.
pub(crate) fn split(text: &str) -> (&str, LayoutReference<'_>) {
    if let Some((path, digest)) = text.split_once('@') {
        return (path, LayoutReference::Digest(digest));
    }
    match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, LayoutReference::Tag(Some(tag))),
        _ => (text, LayoutReference::Tag(None)),
    }
}

/// Returns the digest that `tag` names in a layout; without a tag, of the only image or `latest`.
pub(crate) fn tagged(layout: &Path, tag: Option<&str>) -> Result<Digest, LayoutError> {
    Ok(lamina_sources::find_in_layout(layout, tag)?.digest)
}

/// Gives `tag` to the image that `descriptor` (JSON) describes; other entries stay as they are.
pub(crate) fn set_tag(layout: &Path, tag: &str, descriptor: &str) -> Result<(), LayoutError> {
    let descriptor = serde_json::from_str(descriptor).map_err(LayoutError::Descriptor)?;
    Ok(lamina_content::set_tag(layout, tag, descriptor)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn layouts_are_split_from_tags() {
        let shown = |text| match split(text) {
            (path, LayoutReference::Digest(digest)) => format!("{path} @ {digest}"),
            (path, LayoutReference::Tag(tag)) => format!("{path} : {tag:?}"),
        };
        assert_eq!(shown("a/b"), "a/b : None");
        assert_eq!(shown("a/b:1"), "a/b : Some(\"1\")");
        assert_eq!(shown("a:b/c"), "a:b/c : None");
        assert_eq!(shown("a@sha256:x"), "a @ sha256:x");
    }

    #[test]
    fn tags_are_set_and_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = folder.path();
        let descriptor = |digest: Digest| {
            let kind = "application/vnd.oci.image.manifest.v1+json";
            json!({"mediaType": kind, "digest": digest, "size": 1}).to_string()
        };
        let (first, second) = (Digest::of(b"1"), Digest::of(b"2"));
        set_tag(layout, "latest", &descriptor(first)).expect("set");
        set_tag(layout, "other", &descriptor(second)).expect("set");
        assert_eq!(tagged(layout, None).expect("found"), first);
        assert_eq!(tagged(layout, Some("other")).expect("found"), second);
        set_tag(layout, "latest", &descriptor(second)).expect("replaced");
        assert_eq!(tagged(layout, Some("latest")).expect("found"), second);
        assert!(layout.join("oci-layout").exists());
        for wrong in ["1", "x"] {
            assert!(matches!(
                set_tag(layout, "x", wrong),
                Err(LayoutError::Descriptor(_))
            ));
        }
    }
}
