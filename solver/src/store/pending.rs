//! Writes that are not on disk yet, in the form in which they are stored.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use lamina_types::Digest;

use super::Record;
use crate::key::KeyId;
use crate::key::Link;

/// `from | link | to`: a link is a key without a value, so looking up is a scan of a prefix.
pub(super) type LinkKey = [u8; 96];

/// `id | sha256 of the data`.
pub(super) type RecordKey = [u8; 64];

/// A set of writes that go to disk together.
#[derive(Default, Debug)]
pub(super) struct Batch {
    pub(super) links: BTreeSet<LinkKey>,
    /// `None` = to be removed.
    pub(super) records: BTreeMap<RecordKey, Option<Record>>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.records.is_empty()
    }

    /// Adds the ids that `link` leads to.
    pub(super) fn collect_links(&self, from: KeyId, link: &Link, ids: &mut BTreeSet<KeyId>) {
        let range = self.links.range(link_range(from, link));
        ids.extend(range.map(link_target));
    }

    /// Applies what is known about the records of `id` to `records`.
    pub(super) fn apply_records(&self, id: KeyId, records: &mut BTreeMap<RecordKey, Record>) {
        for (key, change) in self.records.range(record_range(id)) {
            apply(key, change.as_ref(), records);
        }
    }

    /// Applies what is known about any record.
    pub(super) fn apply_all(&self, records: &mut BTreeMap<RecordKey, Record>) {
        for (key, change) in &self.records {
            apply(key, change.as_ref(), records);
        }
    }
}

fn apply(key: &RecordKey, change: Option<&Record>, records: &mut BTreeMap<RecordKey, Record>) {
    match change {
        Some(record) => drop(records.insert(*key, record.clone())),
        None => drop(records.remove(key)),
    }
}

pub(super) fn link_key(from: KeyId, link: &Link, to: KeyId) -> LinkKey {
    join3(from.as_bytes(), link.digest().as_bytes(), to.as_bytes())
}

pub(super) fn link_range(from: KeyId, link: &Link) -> std::ops::RangeInclusive<LinkKey> {
    let digest = link.digest();
    let [low, high] = [[0; 32], [0xff; 32]];
    join3(from.as_bytes(), digest.as_bytes(), &low)
        ..=join3(from.as_bytes(), digest.as_bytes(), &high)
}

pub(super) fn link_target(key: &LinkKey) -> KeyId {
    let mut id = [0; 32];
    id.copy_from_slice(&key[64..]);
    KeyId::from_bytes(id)
}

pub(super) fn record_key(id: KeyId, data: &[u8]) -> RecordKey {
    join2(id.as_bytes(), Digest::of(data).as_bytes())
}

pub(super) fn record_range(id: KeyId) -> std::ops::RangeInclusive<RecordKey> {
    join2(id.as_bytes(), &[0; 32])..=join2(id.as_bytes(), &[0xff; 32])
}

pub(super) fn record_id(key: &RecordKey) -> KeyId {
    let mut id = [0; 32];
    id.copy_from_slice(&key[..32]);
    KeyId::from_bytes(id)
}

/// Returns a record's stored form: nanoseconds since 1970 in 8 little-endian bytes, then the data.
pub(super) fn encode(record: &Record) -> Vec<u8> {
    let since = record.created.duration_since(UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
    let mut bytes = Vec::with_capacity(8 + record.data.len());
    bytes.extend_from_slice(&nanos.to_le_bytes());
    bytes.extend_from_slice(&record.data);
    bytes
}

/// Reads a record's stored form; `None` if it is too short to be one.
pub(super) fn decode(bytes: &[u8]) -> Option<Record> {
    let (nanos, data) = bytes.split_first_chunk()?;
    let since = Duration::from_nanos(u64::from_le_bytes(*nanos));
    Some(Record {
        data: data.to_vec(),
        created: SystemTime::UNIX_EPOCH.checked_add(since)?,
    })
}

fn join2(a: &[u8; 32], b: &[u8; 32]) -> [u8; 64] {
    let mut joined = [0; 64];
    joined[..32].copy_from_slice(a);
    joined[32..].copy_from_slice(b);
    joined
}

fn join3(a: &[u8; 32], b: &[u8; 32], c: &[u8; 32]) -> [u8; 96] {
    let mut joined = [0; 96];
    joined[..64].copy_from_slice(&join2(a, b));
    joined[64..].copy_from_slice(c);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_records_round_trip_and_short_ones_are_refused() {
        let record = Record {
            data: b"data".to_vec(),
            created: UNIX_EPOCH + Duration::from_nanos(1_234_567_890_123),
        };
        let bytes = encode(&record);
        assert_eq!(&bytes[8..], b"data");
        assert_eq!(decode(&bytes), Some(record));
        assert_eq!(decode(&bytes[..7]), None);
        assert_eq!(decode(&[]), None);
    }
}
