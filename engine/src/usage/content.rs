//! Blobs that nothing needs any more.

use std::collections::HashSet;

use lamina_content::ContentStore;
use lamina_content::MAX_METADATA_BYTES;
use lamina_types::Digest;
use serde_json::Value;

use super::Stores;
use super::UsageError;

/// How deep indexes of named images may be nested.
const MAX_DEPTH: usize = 8;

/// Deletes the blobs `dead`, or all if `everything`, but never what a named image or a layer needs.
/// While builds run nothing is deleted: they may be about to use a blob that they have seen.
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
    let mut needed = HashSet::new();
    for (_, image) in stores.content.images() {
        need(&stores.content, image.digest, &mut needed, MAX_DEPTH);
    }
    for layer in stores.snapshots.usage() {
        needed.extend(layer.blobs.iter().map(|blob| blob.digest));
    }
    let keep = |digest: &Digest| needed.contains(digest) || !(everything || dead.contains(digest));
    stores.content.sweep(&keep)?;
    Ok(())
}

/// Adds a blob and, if it is an index or a manifest, what it names.
fn need(content: &ContentStore, digest: Digest, needed: &mut HashSet<Digest>, depth: usize) {
    if !needed.insert(digest) || depth == 0 {
        return;
    }
    let Ok(data) = content.read(&digest, MAX_METADATA_BYTES) else {
        return;
    };
    let Ok(document) = serde_json::from_slice::<Value>(&data) else {
        return;
    };
    let digest_of = |value: &Value| value["digest"].as_str().and_then(|text| text.parse().ok());
    let list = |key: &str| {
        document[key]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    for manifest in list("manifests").iter().filter_map(digest_of) {
        need(content, manifest, needed, depth - 1);
    }
    needed.extend(list("layers").iter().filter_map(digest_of));
    needed.extend(digest_of(&document["config"]));
}
