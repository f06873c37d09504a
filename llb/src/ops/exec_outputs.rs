//! What a process leaves: committing the layers that are outputs (row EXC-16).

use lamina_executor::Finished;
use lamina_types::Blocking;
use lamina_types::CancelToken;

use super::OpFailure;
use super::exec_mounts::Fate;
use crate::Snapshot;

/// Returns the outputs in the order of the mounts; layers that are no output are dropped.
pub(super) async fn collect(
    finished: Finished,
    fates: Vec<Fate>,
    blocking: &Blocking,
    cancel: &CancelToken,
) -> Result<Vec<Snapshot>, OpFailure> {
    let work = move |cancel: &CancelToken| outputs(finished, fates, cancel);
    blocking.run(cancel, work).await
}

fn outputs(
    mut finished: Finished,
    fates: Vec<Fate>,
    cancel: &CancelToken,
) -> Result<Vec<Snapshot>, OpFailure> {
    let mut outputs = Vec::new();
    for fate in fates {
        let (lower, layer) = match fate {
            Fate::Discarded => continue,
            Fate::Unchanged(input) => {
                outputs.push(input);
                continue;
            }
            Fate::Root(lower) => (lower, finished.root.take()),
            Fate::Mount(index, lower) => {
                (lower, finished.mounts.get_mut(index).and_then(Option::take))
            }
        };
        let layer = layer.ok_or(OpFailure::LostLayer)?;
        outputs.push(lower.push(layer.commit(cancel)?));
    }
    Ok(outputs)
}
