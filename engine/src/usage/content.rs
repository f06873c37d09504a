//! Blobs that nothing needs any more.

use std::collections::HashSet;

use lamina_content::ContentError;
use lamina_content::ContentStore;
use lamina_content::MAX_METADATA_BYTES;
use lamina_types::Digest;
use serde_json::Value;

use super::Stores;
use super::UsageError;

/// Deletes the blobs `dead`, or all if `everything`, but never what a named image or a layer needs.
/// While builds run nothing is deleted: they may be about to use a blob that they have seen.
///
/// # Errors
/// If it is not known what is needed, and nothing is deleted, or if a blob cannot be deleted.
pub(super) fn sweep(
    stores: &Stores,
    dead: &HashSet<Digest>,
    everything: bool,
) -> Result<(), UsageError> {
    if dead.is_empty() && !everything {
        return Ok(());
    }
    let Ok(_no_builds) = stores.builds.try_write() else {
        tracing::debug!("blobs are kept until the next collection: builds are running");
        return Ok(());
    };
    let mut needed = needed_by_images(&stores.content)?;
    for layer in stores.snapshots.usage() {
        needed.extend(layer.blobs.iter().map(|blob| blob.digest));
    }
    let keep = |digest: &Digest| needed.contains(digest) || !(everything || dead.contains(digest));
    stores.content.sweep(&keep)?;
    Ok(())
}

/// Returns the blobs that named images consist of, as far as they are here.
///
/// # Errors
/// If a blob that may name others cannot be read: what it needs is then not known.
fn needed_by_images(content: &ContentStore) -> Result<HashSet<Digest>, ContentError> {
    let (mut read, mut needed) = (HashSet::new(), HashSet::new());
    let images = content.images().into_iter();
    let mut unread: Vec<Digest> = images.map(|(_, image)| image.digest).collect();
    while let Some(digest) = unread.pop() {
        if !read.insert(digest) {
            continue;
        }
        let data = match content.read(&digest, MAX_METADATA_BYTES) {
            // Of an image for many platforms only some may be here.
            Err(ContentError::NotFound { .. }) => continue,
            data => data?,
        };
        // The digest has been checked, so what is no JSON never was, and names nothing.
        let document: Value = serde_json::from_slice(&data).unwrap_or_default();
        let of = |value: &Value| value["digest"].as_str()?.parse::<Digest>().ok();
        let list = |key: &str| document[key].as_array().into_iter().flatten();
        unread.extend(list("manifests").filter_map(of));
        needed.extend(list("layers").chain([&document["config"]]).filter_map(of));
    }
    needed.extend(read);
    Ok(needed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use lamina_content::Descriptor;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_no_reason_to_delete() {
        let dir = tempfile::tempdir().expect("a folder");
        let content = ContentStore::open(dir.path()).expect("opens");
        let put = |document: Value| content.put(document.to_string().as_bytes()).expect("put");
        let layer = content.put(b"layer").expect("put");
        let config = put(json!({}));
        let absent = Digest::of(b"of another platform");
        let manifest = put(json!({
            "config": {"digest": config.to_string()},
            "layers": [{"digest": layer.to_string()}],
        }));
        let index = put(json!({
            "manifests": [{"digest": manifest.to_string()}, {"digest": absent.to_string()}],
        }));
        let image: Descriptor =
            serde_json::from_value(json!({"digest": index, "size": 1})).expect("a descriptor");
        content.tag("name", image).expect("tagged");
        let needed = needed_by_images(&content).expect("all is readable");
        assert_eq!(
            needed,
            HashSet::from([index, manifest, absent, config, layer])
        );
        let path = dir.path().join("blobs/sha256").join(manifest.hex());
        fs::write(path, b"damaged").expect("written");
        let error = needed_by_images(&content).expect_err("the layers are not known");
        assert!(matches!(error, ContentError::WrongDigest { .. }), "{error}");
    }
}
