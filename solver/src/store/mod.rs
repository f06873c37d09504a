//! The table of cache keys.
//!
//! ```text
//! links    (id of an input, link) -> ids        what was computed from that input in that way
//! records  id -> (bytes, time)...               results of that computation, see `ResultStore`
//! ```
//!
//! Nothing here knows what an id means. A store that cannot be read is an empty one: reads report
//! trouble to the log and return nothing, because a broken cache must never fail a build.

mod memory;
mod pending;
mod redb;

use std::time::SystemTime;

pub use self::memory::MemoryCache;
pub use self::redb::CacheError;
pub use self::redb::RedbCache;
pub use self::redb::catch_damage;

use crate::key::KeyId;
use crate::key::Link;

/// A stored result of a computation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// What [`ResultStore::save`](crate::ResultStore::save) returned.
    pub data: Vec<u8>,
    /// When the result was made; the latest of several is used.
    pub created: SystemTime,
}

/// Keeps cache keys and records.
///
/// # Contract
/// - Calls return at once and may come from any thread.
/// - What was added is seen by all later calls on the same store, whether or not it is on disk yet.
/// - Adding what is there already changes nothing, except that a record gets the later time.
/// - Order of adding is the order of becoming durable: a record is never durable before a link that
///   was added before it.
pub trait CacheStore: Send + Sync {
    /// Returns the ids that `link` leads to from `from`, in ascending order.
    fn links(&self, from: KeyId, link: &Link) -> Vec<KeyId>;

    /// Makes `link` lead from `from` to `to`.
    fn add_link(&self, from: KeyId, link: &Link, to: KeyId);

    /// Returns the records of `id`, latest first; of equal times, the one with the greater data.
    fn records(&self, id: KeyId) -> Vec<Record>;

    /// Adds a record to `id`; a record with equal data gets the later time.
    fn add_record(&self, id: KeyId, record: &Record);

    /// Removes the record with this data from `id`.
    fn forget(&self, id: KeyId, data: &[u8]);

    /// Calls `visit` with every record, in no particular order; for what decides which values live.
    fn for_each_record(&self, visit: &mut dyn FnMut(KeyId, &Record));
}

/// Sorts as [`CacheStore::records`] promises.
pub(crate) fn latest_first(records: &mut [Record]) {
    records.sort_by(|a, b| (b.created, &b.data).cmp(&(a.created, &a.data)));
}
