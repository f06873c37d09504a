//! Content keys of inputs: digests of the parts that an op reads.

use lamina_snapshotter::Selection;
use lamina_snapshotter::SnapshotError;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::Sha256Hasher;

use super::OpFailure;
use crate::Snapshot;
use crate::model::InputUse;

/// Digests what `input` says of `value`; asked only where the cache map offered it.
pub(super) async fn content_digest(
    value: &Snapshot,
    input: Option<&InputUse>,
    blocking: &Blocking,
    cancel: &CancelToken,
) -> Result<Digest, OpFailure> {
    let selections = input.and_then(|input| input.content.clone());
    let (value, selections) = (value.clone(), selections.unwrap_or_default());
    let work = move |cancel: &CancelToken| digest(&value, &selections, cancel);
    blocking.run(cancel, work).await
}

fn digest(
    value: &Snapshot,
    selections: &[Selection],
    cancel: &CancelToken,
) -> Result<Digest, OpFailure> {
    let one = |selection| {
        let digest = value.stack().digest(selection, cancel);
        digest.map_err(|source| checksum_failure(value, source))
    };
    if let [selection] = selections {
        return one(selection);
    }
    let mut hasher = Sha256Hasher::new();
    for selection in selections {
        hasher.update(one(selection)?.as_bytes());
    }
    Ok(hasher.finish())
}

fn checksum_failure(value: &Snapshot, source: SnapshotError) -> OpFailure {
    match source {
        SnapshotError::Cancelled(cancelled) => OpFailure::Cancelled(cancelled),
        source => OpFailure::Checksum {
            label: value.label(),
            source,
        },
    }
}
