//! All nodes that the kernel holds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_types::FileKind;
use rustix::io::Errno;
use rustix::io::Result;

use super::node::Name;
use super::node::Node;
use super::node::Place;
use super::numbers::Key;
use super::numbers::Numbers;
use super::numbers::ROOT;

/// Locks of the table; more than there are threads.
const SHARDS: usize = 16;

/// Nodes by number, each with how often the kernel was told of it.
pub(super) struct Table {
    pub(super) numbers: Numbers,
    shards: [Mutex<HashMap<u64, Slot>>; SHARDS],
}

struct Slot {
    node: Arc<Node>,
    lookups: u64,
}

/// What a look-up found, to become a node.
pub(super) struct Arrival {
    pub(super) key: Key,
    pub(super) kind: FileKind,
    pub(super) name: Name,
    pub(super) place: Place,
}

impl Table {
    /// Starts with the root alone.
    pub(super) fn new(numbers: Numbers, root: Place) -> Self {
        let table = Self {
            numbers,
            shards: Default::default(),
        };
        let node = Node::new(ROOT, FileKind::Directory, Vec::new(), root);
        table.lock(ROOT).insert(ROOT, Slot::new(node));
        table
    }

    fn lock(&self, ino: u64) -> MutexGuard<'_, HashMap<u64, Slot>> {
        let shard = usize::try_from(ino % SHARDS as u64).unwrap_or(0);
        let shard = self.shards[shard].lock();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a node that the kernel holds; `ESTALE` for any other number.
    pub(super) fn get(&self, ino: u64) -> Result<Arc<Node>> {
        let shard = self.lock(ino);
        let slot = shard.get(&ino).ok_or(Errno::STALE)?;
        Ok(Arc::clone(&slot.node))
    }

    /// Returns all nodes that the kernel holds at some moment.
    pub(super) fn all(&self) -> Vec<Arc<Node>> {
        let mut nodes = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            nodes.extend(shard.values().map(|slot| Arc::clone(&slot.node)));
        }
        nodes
    }

    /// Returns the node of a file if the kernel holds it.
    pub(super) fn known(&self, key: Key) -> Option<Arc<Node>> {
        self.get(self.numbers.of(key)).ok()
    }

    /// Returns the node for what was found, and counts that the kernel is told of it.
    pub(super) fn adopt(&self, arrival: Arrival) -> Arc<Node> {
        let ino = self.numbers.of(arrival.key);
        let mut shard = self.lock(ino);
        match shard.entry(ino) {
            Entry::Vacant(vacant) => {
                let slot = vacant.insert(Slot::new(arrival.into_node(ino)));
                Arc::clone(&slot.node)
            }
            Entry::Occupied(mut known) if known.get().node.welcomes(&arrival) => {
                known.get_mut().lookups += 1;
                Arc::clone(&known.get().node)
            }
            Entry::Occupied(_) => {
                drop(shard);
                self.adopt_anew(arrival, ino)
            }
        }
    }

    /// Adopts a file whose inode was that of another one, which the kernel still holds as `taken`.
    fn adopt_anew(&self, arrival: Arrival, taken: u64) -> Arc<Node> {
        if self.numbers.of(arrival.key) != taken {
            return self.adopt(arrival);
        }
        let ino = self.numbers.renumber(arrival.key);
        let node = arrival.into_node(ino);
        let mut shard = self.lock(ino);
        let slot = shard.entry(ino).or_insert(Slot::new(node));
        Arc::clone(&slot.node)
    }

    /// Notes that the kernel dropped `lookups` of its references.
    pub(super) fn forget(&self, ino: u64, lookups: u64) {
        if ino == ROOT {
            return;
        }
        let mut shard = self.lock(ino);
        let Some(slot) = shard.get_mut(&ino) else {
            return;
        };
        slot.lookups = slot.lookups.saturating_sub(lookups);
        if slot.lookups == 0 {
            let gone = shard.remove(&ino);
            drop(shard);
            // Outside the lock: this may close files.
            drop(gone);
        }
    }
}

impl Slot {
    fn new(node: Node) -> Self {
        Self {
            node: Arc::new(node),
            lookups: 1,
        }
    }
}

impl Arrival {
    fn into_node(self, ino: u64) -> Node {
        Node::new(ino, self.kind, vec![self.name], self.place)
    }
}

impl Node {
    /// Takes one more name of the same file; says `false` if this is another file: one that is dead, or
    /// the copy of what was found.
    fn welcomes(&self, arrival: &Arrival) -> bool {
        let mut state = self.state();
        if matches!(
            (&state.place, &arrival.place),
            (Place::File(None), Place::File(Some(_)))
        ) {
            // Found before it was copied up, under all names that were known.
            return state.names.contains(&arrival.name);
        }
        if let Place::Gone(left) = &state.place {
            // An inode of the upper without names is free: the host may have used it again.
            if self.kind != arrival.kind || arrival.key.0.is_none() && left.nlink() == 0 {
                return false;
            }
            state.place = arrival.place.clone();
        }
        if self.kind == FileKind::Directory {
            state.names = vec![arrival.name.clone()];
        } else if !state.names.contains(&arrival.name) {
            state.names.push(arrival.name.clone());
        }
        true
    }
}
