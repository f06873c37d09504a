//! Looking for damage inside of layers, on demand.
//!
//! Opening a store reads manifests only, and what a killed process or a loss of power can do to layers
//! is dealt with there. What a failing disk, a repair of the file system or somebody with a shell does
//! to the files of a layer is found here: all of them are counted again, and the result is compared with
//! what the manifest says.

use lamina_types::CancelToken;
use lamina_types::LayerId;
use rayon::iter::IntoParallelRefIterator as _;
use rayon::iter::ParallelIterator as _;

use super::Layer;
use super::SnapshotStore;
use super::census::Census;
use crate::SnapshotError;

/// A layer that has not got what it was sealed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedLayer {
    /// Which.
    pub id: LayerId,
    /// How it came to be.
    pub description: String,
    /// What is wrong.
    pub reason: String,
    /// It is gone from the store; if not, somebody holds it.
    pub dropped: bool,
}

/// What a check of a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreCheck {
    /// Layers that are as they were sealed.
    pub sound: usize,
    /// Layers of older versions, whose manifests do not tell.
    pub unknown: usize,
    /// The others, by id.
    pub damaged: Vec<DamagedLayer>,
}

enum Verdict {
    Sound,
    Unknown,
    Damaged(String),
}

impl SnapshotStore {
    /// Compares all layers with their manifests, and removes those that are damaged and that nothing
    /// holds: records that name them become misses, so what they were is made again. Uses the current
    /// rayon pool; looks at every name in the store and reads no data.
    ///
    /// # Errors
    /// [`SnapshotError::Cancelled`]; as [`SnapshotStore::remove`].
    pub fn check(&self, cancel: &CancelToken) -> Result<StoreCheck, SnapshotError> {
        let layers = self.all_layers();
        let judge = |layer: &Layer| Ok((layer.id(), layer.description(), judge(layer, cancel)?));
        let verdicts: Vec<_> = layers
            .par_iter()
            .map(judge)
            .collect::<Result<_, SnapshotError>>()?;
        // As long as they are held they cannot be removed.
        drop(layers);
        let mut check = StoreCheck::default();
        for (id, description, verdict) in verdicts {
            match verdict {
                Verdict::Sound => check.sound += 1,
                Verdict::Unknown => check.unknown += 1,
                Verdict::Damaged(reason) => check.damaged.push(DamagedLayer {
                    id,
                    description,
                    reason,
                    dropped: false,
                }),
            }
        }
        self.drop_damaged(&mut check.damaged)?;
        Ok(check)
    }

    fn drop_damaged(&self, damaged: &mut [DamagedLayer]) -> Result<(), SnapshotError> {
        let ids: Vec<LayerId> = damaged.iter().map(|layer| layer.id).collect();
        self.remove(&ids)?;
        for layer in damaged {
            layer.dropped = self.layer(layer.id).is_none();
            let (reason, dropped) = (&layer.reason, layer.dropped);
            tracing::warn!(layer = %layer.id, reason, dropped, "a layer is damaged");
        }
        Ok(())
    }
}

fn judge(layer: &Layer, cancel: &CancelToken) -> Result<Verdict, SnapshotError> {
    let Some(sealed) = layer.census() else {
        return Ok(Verdict::Unknown);
    };
    let found = layer.folder().and_then(|folder| Census::of(folder, cancel));
    Ok(match found {
        Ok(found) => sealed
            .difference(&found)
            .map_or(Verdict::Sound, Verdict::Damaged),
        Err(SnapshotError::Cancelled(cancelled)) => return Err(cancelled.into()),
        Err(error) => Verdict::Damaged(error.to_string()),
    })
}
