//! Inode numbers.
//!
//! A number tells a file from every other one in the view for as long as the mount lives. It is made
//! of the place of the layer in the stack and of the inode there, so most cost no memory:
//!
//! ```text
//! bits 48 to 62   0 for the upper, else the place of the layer in the stack, counted from 1
//! bits 0 to 47    inode on the host
//! bit 63          set for numbers from a counter
//! ```
//!
//! Layers may share inodes by hard links. Such files are different files in the view, and since the
//! layer is part of the number, they look so. A file that is copied up keeps its number: the upper's
//! inode becomes an *alias*. Numbers from the counter are for inodes that need more than 48 bits, for
//! an inode of the upper that the host uses again while the kernel still holds the file that had it
//! before, and for a file of a sealed layer some of whose names went to a copy.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use lamina_types::LayerId;

/// The number of the root, which the protocol fixes.
pub(super) const ROOT: u64 = 1;

const INODE_BITS: u32 = 48;

/// First number of the counter.
const COUNTED: u64 = 1 << 63;

/// A file as the host knows it: the sealed layer (`None` for the upper) and the inode.
pub(super) type Key = (Option<LayerId>, u64);

/// Gives out inode numbers.
pub(super) struct Numbers {
    places: HashMap<LayerId, u64>,
    /// Numbers that are not made of the key.
    others: RwLock<HashMap<Key, u64>>,
    next: AtomicU64,
    /// Whether files of sealed layers may have lost their number to a copy.
    parted: AtomicBool,
    /// Held while a number from the counter is chosen.
    choosing: Mutex<()>,
}

impl Numbers {
    /// Starts for a view of `layers`, bottom first.
    pub(super) fn new(layers: impl IntoIterator<Item = LayerId>) -> Self {
        Self {
            places: layers.into_iter().zip(1..).collect(),
            others: RwLock::default(),
            next: AtomicU64::new(COUNTED),
            parted: AtomicBool::new(false),
            choosing: Mutex::default(),
        }
    }

    /// Returns the number of a file.
    pub(super) fn of(&self, key: Key) -> u64 {
        let (layer, inode) = key;
        if (layer.is_none() || inode >> INODE_BITS != 0 || self.parted.load(Ordering::Acquire))
            && let Some(number) = self.other(key)
        {
            return number;
        }
        let place = layer.map_or(Some(0), |layer| self.places.get(&layer).copied());
        match place {
            Some(place) if inode >> INODE_BITS == 0 && inode > ROOT => place << INODE_BITS | inode,
            _ => self.count(key),
        }
    }

    fn other(&self, key: Key) -> Option<u64> {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        others.get(&key).copied()
    }

    fn count(&self, key: Key) -> u64 {
        let choosing = self.choosing.lock();
        let _choosing = choosing.unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = self.other(key) {
            return number;
        }
        self.renumber(key)
    }

    /// Gives a file a number that was never used.
    pub(super) fn renumber(&self, key: Key) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.note(key, number);
        self.parted.fetch_or(key.0.is_some(), Ordering::Release);
        number
    }

    /// Says that the upper's `inode` is what had `number` before it was copied up.
    pub(super) fn alias(&self, inode: u64, number: u64) {
        self.note((None, inode), number);
    }

    fn note(&self, key: Key, number: u64) {
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        others.insert(key, number);
    }

    /// Forgets the upper's `inode`, whose last name is gone.
    pub(super) fn forget(&self, inode: u64) {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        let known = others.contains_key(&(None, inode));
        drop(others);
        if known {
            let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
            others.remove(&(None, inode));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<LayerId> = Some(LayerId(7));
    const B: Option<LayerId> = Some(LayerId(u64::MAX));

    #[test]
    fn different_files_have_different_numbers() {
        let numbers = Numbers::new([A, B].into_iter().flatten());
        let keys = [
            (None, 1),
            (None, 2),
            (A, 2),
            (B, 2),
            (A, 1 << 48),
            (B, 1 << 48),
            (A, u64::MAX),
            (None, u64::MAX),
        ];
        let given: Vec<u64> = keys.iter().map(|&key| numbers.of(key)).collect();
        let again: Vec<u64> = keys.iter().map(|&key| numbers.of(key)).collect();
        assert_eq!(given, again);
        let mut distinct = given.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), keys.len());
        assert!(!given.contains(&0) && !given.contains(&ROOT), "{given:?}");
    }

    #[test]
    fn a_copy_keeps_the_number_until_it_is_deleted() {
        let numbers = Numbers::new(A);
        let original = numbers.of((A, 30));
        numbers.alias(40, original);
        assert_eq!(numbers.of((None, 40)), original);
        assert_eq!(numbers.of((A, 30)), original);
        numbers.forget(40);
        assert_ne!(numbers.of((None, 40)), original);
    }
}
