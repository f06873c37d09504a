//! Dropping links that lead to no record any more (row CTL-13).

use std::collections::HashMap;
use std::collections::HashSet;

use redb::ReadableTable;

use super::LINKS;
use super::RECORDS;
use super::RedbCache;
use super::catch_damage;
use crate::store::pending::LinkKey;

/// The bytes of an id.
type Id = [u8; 32];

impl RedbCache {
    /// Removes the links from which no record can be reached and returns how many they were. To be
    /// called while no build runs: one that is about to add a record would lose the way to it. While
    /// writes are queued nothing is removed. Blocks.
    ///
    /// # Errors
    /// If the database cannot be read or written; nothing is removed then.
    pub fn sweep_links(&self) -> Result<usize, redb::Error> {
        let state = self.shared.state();
        if !state.queued.is_empty() || !state.writing.is_empty() {
            return Ok(0);
        }
        drop(state);
        catch_damage(|| self.sweep_stored_links())
    }

    fn sweep_stored_links(&self) -> Result<usize, redb::Error> {
        let transaction = self.shared.database.begin_write()?;
        let mut links = transaction.open_table(LINKS)?;
        let records = transaction.open_table(RECORDS)?;
        let mut live: HashSet<Id> = HashSet::new();
        for entry in records.iter()? {
            live.extend(entry?.0.value().first_chunk::<32>());
        }
        drop(records);
        let mut all: Vec<LinkKey> = Vec::new();
        for entry in links.iter()? {
            all.push(*entry?.0.value());
        }
        let live = leading_to(live, &all);
        let dead = all.iter().filter(|link| !live.contains(&target(link)));
        let mut removed = 0;
        for link in dead {
            links.remove(link)?;
            removed += 1;
        }
        drop(links);
        transaction.commit()?;
        Ok(removed)
    }
}

/// Returns the ids `live` and all from which links lead to one of them.
fn leading_to(mut live: HashSet<Id>, links: &[LinkKey]) -> HashSet<Id> {
    let mut sources: HashMap<Id, Vec<Id>> = HashMap::new();
    for link in links {
        sources.entry(target(link)).or_default().push(source(link));
    }
    let mut pending: Vec<Id> = live.iter().copied().collect();
    while let Some(id) = pending.pop() {
        for from in sources.remove(&id).unwrap_or_default() {
            if live.insert(from) {
                pending.push(from);
            }
        }
    }
    live
}

fn source(link: &LinkKey) -> Id {
    *link.first_chunk().expect("a link has three ids")
}

fn target(link: &LinkKey) -> Id {
    *link.last_chunk().expect("a link has three ids")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use lamina_types::Digest;
    use redb::Database;

    use super::*;
    use crate::CacheStore;
    use crate::KeyId;
    use crate::Link;
    use crate::Record;

    fn id(number: u8) -> KeyId {
        KeyId::from_bytes([number; 32])
    }

    #[tokio::test]
    async fn only_links_that_lead_to_records_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let database = Database::create(dir.path().join("db")).expect("a database");
        let cache = RedbCache::new(Arc::new(database));
        let link = Link {
            input: 0,
            output: 0,
            op: Digest::of(b"op"),
            selector: None,
        };
        // 1 -> 2 -> 3 has a record at its end, 1 -> 4 -> 5 does not; 6 and 7 are a ring.
        for (from, to) in [(1, 2), (2, 3), (1, 4), (4, 5), (6, 7), (7, 6)] {
            cache.add_link(id(from), &link, id(to));
        }
        let record = Record {
            data: b"data".to_vec(),
            created: SystemTime::now(),
        };
        cache.add_record(id(3), &record);
        assert_eq!(
            cache.sweep_links().expect("reads"),
            0,
            "not while writes wait"
        );
        cache.flush().await.expect("written");
        assert_eq!(cache.sweep_links().expect("swept"), 4);
        assert_eq!(cache.links(id(1), &link), [id(2)]);
        assert_eq!(cache.links(id(2), &link), [id(3)]);
        cache.forget(id(3), &record.data);
        cache.flush().await.expect("written");
        assert_eq!(cache.sweep_links().expect("swept"), 2);
    }
}
