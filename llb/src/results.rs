//! How results are kept across restarts.
//!
//! ```text
//! version (1 byte)  number of layers (4 bytes)  layer ids, bottom first  chain, if it differs
//! ```
//!
//! Numbers are little endian, ids have eight bytes. A record names layers and holds none: one whose
//! layer is gone, or has lost its files, is a cache miss.

use async_trait::async_trait;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_solver::OpError;
use lamina_solver::ResultStore;
use lamina_types::LayerId;

use crate::Snapshot;

/// Keeps results as lists of layer ids.
pub struct SnapshotResults(SnapshotStore);

const VERSION: u8 = 1;
const ID_BYTES: usize = 8;

impl SnapshotResults {
    /// Keeps results whose layers are in `store`.
    #[must_use]
    pub fn new(store: SnapshotStore) -> Self {
        Self(store)
    }

    /// Returns the ids of the layers that a record names: what garbage collection must keep.
    #[must_use]
    pub fn layers_of(record: &[u8]) -> Vec<LayerId> {
        let (mut layers, chain) = decode(record).unwrap_or_default();
        layers.extend(chain);
        layers
    }

    fn layers(&self, ids: Vec<LayerId>) -> Option<Vec<Layer>> {
        ids.into_iter().map(|id| self.0.sound_layer(id)).collect()
    }
}

/// Returns the stack and the chain (empty = the same) of a record; `None` if it is none of ours.
fn decode(record: &[u8]) -> Option<(Vec<LayerId>, Vec<LayerId>)> {
    let (&version, rest) = record.split_first()?;
    let (count, ids) = rest.split_first_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    if version != VERSION || ids.len() % ID_BYTES != 0 {
        return None;
    }
    let (stack, chain) = ids.split_at_checked(count.checked_mul(ID_BYTES)?)?;
    let id = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes).map(LayerId);
    let ids = |bytes: &[u8]| {
        bytes
            .chunks_exact(ID_BYTES)
            .map(id)
            .collect::<Option<Vec<_>>>()
    };
    Some((ids(stack)?, ids(chain)?))
}

fn encode(stack: &[LayerId], chain: &[LayerId]) -> Vec<u8> {
    let count = u32::try_from(stack.len()).expect("a mount takes some hundreds of layers");
    let mut record = vec![VERSION];
    record.extend(count.to_le_bytes());
    record.extend(stack.iter().chain(chain).flat_map(|id| id.0.to_le_bytes()));
    record
}

#[async_trait]
impl ResultStore<Snapshot> for SnapshotResults {
    async fn save(&self, value: &Snapshot) -> Result<Vec<u8>, OpError> {
        let ids = |layers: &[Layer]| layers.iter().map(Layer::id).collect::<Vec<_>>();
        let chain = if value.repeats_layers() {
            ids(value.chain())
        } else {
            Vec::new()
        };
        Ok(encode(&ids(value.stack().layers()), &chain))
    }

    async fn load(&self, record: &[u8]) -> Option<Snapshot> {
        let (stack, chain) = decode(record)?;
        let stack = LayerStack::new(self.layers(stack)?);
        if chain.is_empty() {
            return Some(stack.into());
        }
        Some(Snapshot::with_chain(stack, self.layers(chain)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        let ids = vec![LayerId(0), LayerId(7), LayerId(u64::MAX)];
        let chain = vec![LayerId(7), LayerId(7)];
        assert_eq!(decode(&encode(&ids, &[])), Some((ids.clone(), vec![])));
        assert_eq!(decode(&encode(&ids, &chain)), Some((ids, chain)));
        assert_eq!(decode(&encode(&[], &[])), Some((vec![], vec![])));
    }

    #[test]
    fn foreign_records_are_misses() {
        for record in [
            &b""[..],
            b"\x02\0\0\0\0",
            b"\x01\0\0",
            b"\x01\0\0\0\0abc",
            b"\x01\x02\0\0\0abcdefgh",
            b"\x01\xff\xff\xff\xff",
        ] {
            assert_eq!(decode(record), None, "{record:?}");
        }
    }
}
