//! What a process leaves: committing the layers that are outputs (row EXC-16).

use lamina_executor::Finished;
use lamina_snapshotter::ActiveLayer;
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

/// Returns what each mount is like after a failure (row ERR-03): what the process wrote if the
/// mount is an output, else what it was made of.
pub(super) async fn left(
    finished: Finished,
    fates: Vec<Fate>,
    inputs: Vec<Option<Snapshot>>,
    blocking: &Blocking,
    cancel: &CancelToken,
) -> Result<Vec<Option<Snapshot>>, OpFailure> {
    let work = move |cancel: &CancelToken| {
        let mut finished = finished;
        let mut mounts = inputs;
        for (mount, fate) in mounts.iter_mut().zip(fates) {
            if let Some((lower, layer)) = changed(&mut finished, fate) {
                *mount = Some(lower.push(layer?.commit(cancel)?));
            }
        }
        Ok(mounts)
    };
    blocking.run(cancel, work).await
}

/// The layer of a mount that is an output and was written to, and what it lies on.
fn changed(
    finished: &mut Finished,
    fate: Fate,
) -> Option<(Snapshot, Result<ActiveLayer, OpFailure>)> {
    let (lower, layer) = match fate {
        Fate::Discarded | Fate::Unchanged(_) => return None,
        Fate::Root(lower) => (lower, finished.root.take()),
        Fate::Mount(index, lower) => {
            let layer = finished.mounts.get_mut(index);
            (lower, layer.and_then(Option::take))
        }
    };
    Some((lower, layer.ok_or(OpFailure::LostLayer)))
}

fn outputs(
    mut finished: Finished,
    fates: Vec<Fate>,
    cancel: &CancelToken,
) -> Result<Vec<Snapshot>, OpFailure> {
    let mut outputs = Vec::new();
    for fate in fates {
        if let Fate::Unchanged(input) = fate {
            outputs.push(input);
        } else if let Some((lower, layer)) = changed(&mut finished, fate) {
            outputs.push(lower.push(layer?.commit(cancel)?));
        }
    }
    Ok(outputs)
}
