//! Content keys of inputs: digests of the parts that an op reads.

use lamina_snapshotter::Selection;
use lamina_snapshotter::SnapshotError;
use lamina_solver::OpError;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::RootedPath;
use lamina_types::Sha256Hasher;

use super::Leftovers;
use super::OpFailure;
use super::missing;
use crate::Services;
use crate::Snapshot;
use crate::SolveSubject;
use crate::model::InputUse;
use crate::model::RequiredPath;

/// Digests what `input` says of `value`; asked only where the cache map offered it.
pub(super) async fn content_digest(
    value: &Snapshot,
    input: Option<&InputUse>,
    services: &Services,
    cancel: &CancelToken,
) -> Result<Digest, OpFailure> {
    let (value, input) = (value.clone(), input.cloned().unwrap_or_default());
    // Clients know inputs in this form: whose they are, and which.
    let label = format!("{}::{}", services.worker.id, value.label());
    let work = move |cancel: &CancelToken| {
        let selections = input.content.unwrap_or_default();
        let digest = digest(&value, &label, &selections, cancel)?;
        require(&value, &label, &input.required)?;
        Ok(digest)
    };
    services.blocking.run(cancel, work).await
}

/// Words a failure to read the content of the input number `index` (row ERR-05).
pub(super) fn no_digest(failure: OpFailure, index: usize, value: &Snapshot) -> OpError {
    let left = Leftovers {
        inputs: vec![Some(value.clone())],
        mounts: Vec::new(),
        subject: SolveSubject::Content(i64::try_from(index).unwrap_or(i64::MAX)),
    };
    failure.with_left(left).shared()
}

fn digest(
    value: &Snapshot,
    label: &str,
    selections: &[Selection],
    cancel: &CancelToken,
) -> Result<Digest, OpFailure> {
    let one = |selection: &Selection| {
        let digest = value.stack().digest(selection, cancel);
        digest.map_err(|source| {
            let reason =
                || missing::reason(&value.stack().tree(), &RootedPath::new(&selection.path));
            checksum_failure(label, source, reason)
        })
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

fn require(value: &Snapshot, label: &str, paths: &[RequiredPath]) -> Result<(), OpFailure> {
    if paths.is_empty() {
        return Ok(());
    }
    let tree = value.stack().tree();
    for path in paths {
        let found = path.is_in(&tree);
        if !found.map_err(|source| checksum_failure(label, source, || None))? {
            let name = path.name();
            return Err(OpFailure::NotIncluded {
                label: label.to_owned(),
                reason: missing::reason(&tree, &RootedPath::new(&name)),
                path: name,
            });
        }
    }
    Ok(())
}

/// Words an error of reading; `reason` says why something is missing, and is asked only if it is.
fn checksum_failure(
    label: &str,
    source: SnapshotError,
    reason: impl FnOnce() -> Option<String>,
) -> OpFailure {
    match source {
        SnapshotError::Cancelled(cancelled) => OpFailure::Cancelled(cancelled),
        source => OpFailure::Checksum {
            label: label.to_owned(),
            reason: source.is_not_found().then(reason).flatten(),
            source,
        },
    }
}
