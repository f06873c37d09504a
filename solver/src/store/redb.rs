//! The cache store that survives a restart.
//!
//! Two tables of a redb database that may hold other tables as well:
//!
//! ```text
//! solver_links    from (32) | link digest (32) | to (32)  ->  nothing
//! solver_records  id (32) | sha256 of the data (32)       ->  created (8, little endian) | data
//! ```
//!
//! Writers only queue. One thread takes what has gathered, writes it in one durable transaction,
//! and starts again: a step costs a map insertion, and a burst of steps one `fsync`. Readers look
//! at the queue, at the batch that is being written and at the database, in this order of
//! precedence. After a crash the database holds a prefix of the batches.

mod damage;
mod sweep;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;

use redb::Database;
use redb::ReadableDatabase;
use redb::TableDefinition;
use redb::TableError;
use tokio::sync::watch;

pub use damage::catch_damage;

use super::CacheStore;
use super::Record;
use super::latest_first;
use super::pending;
use super::pending::Batch;
use super::pending::LinkKey;
use super::pending::RecordKey;
use crate::key::KeyId;
use crate::key::Link;

const LINKS: TableDefinition<'_, &LinkKey, ()> = TableDefinition::new("solver_links");
const RECORDS: TableDefinition<'_, &RecordKey, &[u8]> = TableDefinition::new("solver_records");

/// How long the writer lets writes gather: an `fsync` takes 0.3 to 10 ms, so waiting this long
/// costs nothing that a crash would not take anyway.
const GATHER: Duration = Duration::from_millis(5);

/// Trouble with the persistent store.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// A batch could not be written; its records are lost, and their steps will run again.
    #[error("cache could not be written: {0}")]
    Write(#[source] Arc<redb::Error>),
    /// The writer is gone.
    #[error("cache writer has stopped")]
    Stopped,
}

/// Keeps cache keys in a redb database. Opening reads nothing; dropping writes what is queued.
pub struct RedbCache {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    database: Arc<Database>,
    state: Mutex<State>,
    wake: Condvar,
    written: watch::Sender<Written>,
}

#[derive(Default)]
struct State {
    queued: Batch,
    writing: Arc<Batch>,
    /// Batches that were started, and the one that takes writes now is the next.
    batch: u64,
    /// Someone waits: do not let writes gather.
    hurry: bool,
    closed: bool,
}

/// How far the writer got.
#[derive(Clone, Default)]
struct Written {
    batch: u64,
    error: Option<CacheError>,
}

impl RedbCache {
    /// Keeps the tables in `database`.
    #[must_use]
    pub fn new(database: Arc<Database>) -> Self {
        let shared = Shared {
            database,
            state: Mutex::default(),
            wake: Condvar::new(),
            written: watch::Sender::default(),
        };
        Self {
            shared: Arc::new(shared),
            writer: Mutex::default(),
        }
    }

    /// Waits until everything that was added before this call is on disk.
    ///
    /// # Errors
    /// [`CacheError`] if a batch since the last flush could not be written.
    pub async fn flush(&self) -> Result<(), CacheError> {
        let mut written = self.shared.written.subscribe();
        let Some(target) = self.shared.hurry() else {
            return self.shared.take_error();
        };
        if !self.start_writer() {
            return Err(CacheError::Stopped);
        }
        let reached = written.wait_for(|written| written.batch >= target).await;
        drop(reached.map_err(|_| CacheError::Stopped)?);
        self.shared.take_error()
    }

    fn queue(&self, write: impl FnOnce(&mut Batch)) {
        write(&mut self.shared.state().queued);
        self.shared.wake.notify_one();
        self.start_writer();
    }

    /// Starts the writer with the first write; retries with the next one if the system refuses.
    /// Says whether it runs.
    fn start_writer(&self) -> bool {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.is_some() {
            return true;
        }
        let shared = Arc::clone(&self.shared);
        let builder = std::thread::Builder::new().name("cache-writer".to_owned());
        match builder.spawn(move || shared.write_until_closed()) {
            Ok(handle) => *writer = Some(handle),
            Err(error) => tracing::warn!(%error, "cache writer could not be started"),
        }
        writer.is_some()
    }
}

impl Drop for RedbCache {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.wake.notify_one();
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = writer.take()
            && handle.join().is_err()
        {
            tracing::error!("cache writer panicked");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the batch that holds the last write so far, if it is not on disk.
    fn hurry(&self) -> Option<u64> {
        let mut state = self.state();
        if !state.queued.is_empty() {
            state.hurry = true;
            self.wake.notify_one();
            return Some(state.batch + 1);
        }
        (!state.writing.is_empty()).then_some(state.batch)
    }

    fn take_error(&self) -> Result<(), CacheError> {
        let mut error = None;
        self.written.send_if_modified(|written| {
            error = written.error.take();
            false
        });
        error.map_or(Ok(()), Err)
    }

    fn write_until_closed(&self) {
        while let Some((number, batch)) = self.next_batch() {
            let outcome = catch_damage(|| self.write(&batch));
            self.state().writing = Arc::default();
            self.written.send_modify(|written| {
                written.batch = number;
                if let Err(error) = outcome {
                    tracing::error!(%error, "cache could not be written");
                    written.error = Some(CacheError::Write(Arc::new(error)));
                }
            });
        }
    }

    /// Waits for writes; `None` when closed and nothing is left.
    fn next_batch(&self) -> Option<(u64, Arc<Batch>)> {
        let idle = |state: &mut State| state.queued.is_empty() && !state.closed;
        let state = self.wake.wait_while(self.state(), idle);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let gathering = |state: &mut State| !state.hurry && !state.closed;
        let (mut state, _) = self
            .wake
            .wait_timeout_while(state, GATHER, gathering)
            .unwrap_or_else(PoisonError::into_inner);
        if state.queued.is_empty() {
            return None;
        }
        state.hurry = false;
        state.batch += 1;
        state.writing = Arc::new(std::mem::take(&mut state.queued));
        Some((state.batch, Arc::clone(&state.writing)))
    }

    fn write(&self, batch: &Batch) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut links = transaction.open_table(LINKS)?;
            for key in &batch.links {
                links.insert(key, ())?;
            }
            let mut records = transaction.open_table(RECORDS)?;
            for (key, change) in &batch.records {
                match change {
                    Some(record) => drop(records.insert(key, &*pending::encode(record))?),
                    None => drop(records.remove(key)?),
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn stored_links(&self, from: KeyId, link: &Link) -> Result<BTreeSet<KeyId>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let table = match transaction.open_table(LINKS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeSet::new()),
            table => table?,
        };
        let range = pending::link_range(from, link);
        let mut ids = BTreeSet::new();
        for entry in table.range::<&LinkKey>(range.start()..=range.end())? {
            ids.insert(pending::link_target(entry?.0.value()));
        }
        Ok(ids)
    }

    /// Reads the records of `id`, or all.
    fn stored_records(
        &self,
        id: Option<KeyId>,
    ) -> Result<BTreeMap<RecordKey, Record>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let table = match transaction.open_table(RECORDS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
            table => table?,
        };
        let range = id.map_or([0; 64]..=[0xff; 64], pending::record_range);
        let mut records = BTreeMap::new();
        for entry in table.range::<&RecordKey>(range.start()..=range.end())? {
            let (key, value) = entry?;
            if let Some(record) = pending::decode(value.value()) {
                records.insert(*key.value(), record);
            }
        }
        Ok(records)
    }

    /// Returns the records of `id`, or all, as they will be when everything is written.
    fn current_records(&self, id: Option<KeyId>) -> BTreeMap<RecordKey, Record> {
        let state = self.state();
        let mut records = or_empty(catch_damage(|| self.stored_records(id)));
        for batch in [&*state.writing, &state.queued] {
            match id {
                Some(id) => batch.apply_records(id, &mut records),
                None => batch.apply_all(&mut records),
            }
        }
        records
    }
}

/// Reports what could not be read and goes on with nothing: it is a cache.
fn or_empty<T: Default>(read: Result<T, redb::Error>) -> T {
    read.unwrap_or_else(|error| {
        tracing::warn!(%error, "cache could not be read");
        T::default()
    })
}

impl CacheStore for RedbCache {
    fn links(&self, from: KeyId, link: &Link) -> Vec<KeyId> {
        let state = self.shared.state();
        let mut ids = or_empty(catch_damage(|| self.shared.stored_links(from, link)));
        state.writing.collect_links(from, link, &mut ids);
        state.queued.collect_links(from, link, &mut ids);
        ids.into_iter().collect()
    }

    fn add_link(&self, from: KeyId, link: &Link, to: KeyId) {
        if !self.links(from, link).contains(&to) {
            let key = pending::link_key(from, link, to);
            self.queue(|batch| batch.links.extend([key]));
        }
    }

    fn records(&self, id: KeyId) -> Vec<Record> {
        let current = self.shared.current_records(Some(id));
        let mut records: Vec<_> = current.into_values().collect();
        latest_first(&mut records);
        records
    }

    fn add_record(&self, id: KeyId, record: &Record) {
        let key = pending::record_key(id, &record.data);
        let known = self.shared.current_records(Some(id)).remove(&key);
        if known.is_none_or(|known| known.created < record.created) {
            let record = record.clone();
            self.queue(|batch| drop(batch.records.insert(key, Some(record))));
        }
    }

    fn forget(&self, id: KeyId, data: &[u8]) {
        let key = pending::record_key(id, data);
        self.queue(|batch| drop(batch.records.insert(key, None)));
    }

    fn for_each_record(&self, visit: &mut dyn FnMut(KeyId, &Record)) {
        for (key, record) in self.shared.current_records(None) {
            visit(pending::record_id(&key), &record);
        }
    }
}

impl std::fmt::Debug for RedbCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbCache").finish_non_exhaustive()
    }
}
