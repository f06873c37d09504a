//! The history: builds that run, and what is left of those that ended (rows CTL-15 to CTL-27).
//!
//! A build that begins is *active*: listeners hear of it, nothing is on disk. When it ends its record
//! is stored, with its log and its error as blobs of their own, and listeners hear of that. Records
//! go when somebody deletes them, or when they are beyond both the number and the age that are kept;
//! while somebody listens to one build, its record stays.

mod blobs;
mod error;
mod filter;
mod listen;
pub(crate) mod record;
mod service;
mod table;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use lamina_proto::control::BuildHistoryEvent;
use lamina_proto::control::BuildHistoryEventType;
use lamina_proto::control::BuildHistoryRecord;
use lamina_proto::rpc;
use lamina_types::Digest;
use prost::Message as _;
use redb::Database;
use tokio::sync::broadcast;

pub use error::HistoryError;

pub(crate) use blobs::HistoryBlobs;

use crate::HistoryOptions;
use crate::status::FinishedLog;
use crate::status::StatusLog;
use record::Ending;
use table::Records;

/// Events that a slow listener may be behind; one that is further behind is cut off.
const BACKLOG: usize = 1_024;

/// All that is known of builds.
pub(crate) struct History {
    options: HistoryOptions,
    records: Records,
    blobs: HistoryBlobs,
    state: Mutex<State>,
    events: broadcast::Sender<BuildHistoryEvent>,
}

#[derive(Default)]
struct State {
    active: BTreeMap<String, BuildHistoryRecord>,
    /// How many listen to one build.
    holds: HashMap<String, usize>,
    /// To be deleted when nobody listens to them any more.
    doomed: HashSet<String>,
}

impl History {
    pub(crate) fn new(
        database: Arc<Database>,
        blobs: HistoryBlobs,
        options: HistoryOptions,
    ) -> Self {
        let history = Self {
            options,
            records: Records::new(database),
            blobs,
            state: Mutex::default(),
            events: broadcast::Sender::new(BACKLOG),
        };
        history.sweep();
        history
    }

    /// Removes blobs that no record names: what a killed process was about to record, and all if the
    /// database was lost.
    fn sweep(&self) {
        let records = match self.records.all() {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!(%error, "the build history could not be read");
                return;
            }
        };
        let named: HashSet<Digest> = records.iter().flat_map(record::blobs).collect();
        let blobs = self.blobs.list().into_iter();
        for (digest, _) in blobs.filter(|(digest, _)| !named.contains(digest)) {
            self.blobs.remove(&digest);
        }
    }

    pub(crate) fn blobs(&self) -> &HistoryBlobs {
        &self.blobs
    }

    /// Takes in a build that begins.
    pub(crate) fn begin(&self, record: BuildHistoryRecord) {
        let mut state = self.state();
        state.active.insert(record.r#ref.clone(), record.clone());
        self.tell(BuildHistoryEventType::Started, record);
    }

    /// Stores what is left of a build. Blocks.
    ///
    /// # Errors
    /// If it cannot be stored; the build is no longer active then either.
    pub(crate) fn end(
        &self,
        id: &str,
        log: Option<FinishedLog>,
        ending: &Ending,
    ) -> Result<(), HistoryError> {
        let mut state = self.state();
        let Some(mut record) = state.active.remove(id) else {
            return Ok(());
        };
        record::complete(&mut record, ending);
        if let Some(log) = log {
            self.blobs.adopt(&log.path, &log.digest)?;
            record.logs = Some(record::log(&log.digest, log.bytes));
        }
        if let Err(status) = &ending.outcome {
            record.external_error = Some(self.store_error(status)?);
        }
        self.replace(&mut state, &record)?;
        self.tell(BuildHistoryEventType::Complete, record);
        self.collect(&mut state)
    }

    /// Stores a record. An earlier one of the same id goes with its blobs, and what was to become of
    /// it does not become of this one.
    fn replace(&self, state: &mut State, record: &BuildHistoryRecord) -> Result<(), HistoryError> {
        let replaced = self.records.get(&record.r#ref)?;
        self.records.put(record)?;
        state.doomed.remove(&record.r#ref);
        if let Some(replaced) = replaced {
            self.remove_blobs(&[replaced], &self.records.all()?);
        }
        Ok(())
    }

    fn store_error(
        &self,
        status: &rpc::Status,
    ) -> Result<lamina_proto::control::Descriptor, HistoryError> {
        let data = status.encode_to_vec();
        let digest = self.blobs.put(&data)?;
        Ok(record::external_error(&digest, data.len() as u64))
    }

    /// Returns the log of a finished build; `None` if it is not known. Blocks.
    pub(crate) fn log(&self, id: &str) -> Option<StatusLog> {
        let record = match self.records.get(id) {
            Ok(record) => record?,
            Err(error) => {
                tracing::warn!(%error, "the build history could not be read");
                return None;
            }
        };
        let logs = record.logs.and_then(|logs| logs.digest.parse().ok());
        let (file, bytes) = self.blobs.open_blob(&logs?)?;
        Some(StatusLog::stored(file, bytes))
    }

    /// Sets whether a record may be collected (row CTL-25). Blocks.
    pub(crate) fn pin(&self, id: &str, pinned: bool) -> Result<(), HistoryError> {
        // The lock makes reading and writing one step.
        let _state = self.state();
        let record = self.records.get(id)?;
        let mut record = record.ok_or_else(|| HistoryError::NotFound(id.to_owned()))?;
        record.pinned = pinned;
        record.generation = record.generation.saturating_add(1);
        self.records.put(&record)?;
        self.tell(BuildHistoryEventType::Complete, record);
        Ok(())
    }

    /// Deletes a record, or lets it go when nobody listens to it any more (row CTL-26). Blocks.
    pub(crate) fn delete(&self, id: &str) -> Result<(), HistoryError> {
        let mut state = self.state();
        if self.records.get(id)?.is_none() {
            return Err(HistoryError::NothingToDelete(id.to_owned()));
        }
        if state.holds.contains_key(id) {
            state.doomed.insert(id.to_owned());
            return Ok(());
        }
        self.remove(&mut state, &[id.to_owned()])
    }

    /// Deletes records, and the blobs that no other record has.
    fn remove(&self, state: &mut State, ids: &[String]) -> Result<(), HistoryError> {
        let (gone, kept): (Vec<_>, Vec<_>) = self
            .records
            .all()?
            .into_iter()
            .partition(|record| ids.contains(&record.r#ref));
        self.records.remove(ids)?;
        self.remove_blobs(&gone, &kept);
        for id in ids {
            state.doomed.remove(id);
            let record = BuildHistoryRecord {
                r#ref: id.clone(),
                ..BuildHistoryRecord::default()
            };
            self.tell(BuildHistoryEventType::Deleted, record);
        }
        Ok(())
    }

    /// Deletes the blobs of records that are gone, but for those that others have.
    fn remove_blobs(&self, gone: &[BuildHistoryRecord], kept: &[BuildHistoryRecord]) {
        let kept: HashSet<Digest> = kept.iter().flat_map(record::blobs).collect();
        for digest in gone.iter().flat_map(record::blobs) {
            if !kept.contains(&digest) {
                self.blobs.remove(&digest);
            }
        }
    }

    /// Deletes what is beyond the newest few and too old (row CTL-24).
    fn collect(&self, state: &mut State) -> Result<(), HistoryError> {
        let mut records = self.records.all()?;
        records.retain(|record| !record.pinned && !state.holds.contains_key(&record.r#ref));
        records.sort_by_key(|record| std::cmp::Reverse(completed(record)));
        let oldest = SystemTime::now().checked_sub(self.options.max_age);
        let is_old = |record: &BuildHistoryRecord| oldest.is_some_and(|o| completed(record) < o);
        let beyond = records.into_iter().skip(self.options.max_entries);
        let ids: Vec<String> = beyond.filter(is_old).map(|record| record.r#ref).collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.remove(state, &ids)
    }

    /// Tells listeners; that nobody listens is no error.
    fn tell(&self, kind: BuildHistoryEventType, record: BuildHistoryRecord) {
        drop(self.events.send(event(kind, record)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event(kind: BuildHistoryEventType, record: BuildHistoryRecord) -> BuildHistoryEvent {
    BuildHistoryEvent {
        r#type: kind.into(),
        record: Some(record),
    }
}

fn completed(record: &BuildHistoryRecord) -> SystemTime {
    let time = record.completed_at.unwrap_or_default();
    let seconds = u64::try_from(time.seconds).unwrap_or_default();
    let nanos = u32::try_from(time.nanos).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos.min(999_999_999))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lamina_proto::control::BuildHistoryRequest;

    use super::*;
    use crate::status::Counts;

    fn open(dir: &Path, database: &Arc<Database>) -> History {
        let blobs = HistoryBlobs::open(&dir.join("history")).expect("opens");
        History::new(Arc::clone(database), blobs, HistoryOptions::default())
    }

    fn database(dir: &Path) -> Arc<Database> {
        Arc::new(Database::create(dir.join("db")).expect("a database"))
    }

    /// Runs a build that fails with `message`, and returns its record's error blob.
    fn failed(history: &History, message: &str) -> Digest {
        history.begin(BuildHistoryRecord {
            r#ref: "id".to_owned(),
            ..BuildHistoryRecord::default()
        });
        let status = rpc::Status {
            message: message.to_owned(),
            ..rpc::Status::default()
        };
        let ending = Ending {
            outcome: Err(status.clone()),
            counts: Counts::default(),
        };
        history.end("id", None, &ending).expect("stored");
        Digest::of(&status.encode_to_vec())
    }

    #[test]
    fn a_later_build_of_the_same_id_takes_the_place_of_the_earlier() {
        let dir = tempfile::tempdir().expect("a folder");
        let history = Arc::new(open(dir.path(), &database(dir.path())));
        failed(&history, "first");
        let listen = BuildHistoryRequest {
            r#ref: "id".to_owned(),
            ..BuildHistoryRequest::default()
        };
        let listener = history.listen(&listen).expect("listens");
        history.delete("id").expect("when the listener has gone");
        let second = failed(&history, "second");
        drop(listener);
        let record = history.records.get("id").expect("read");
        let error = record.expect("was not to be deleted").error;
        assert_eq!(error.expect("an error").message, "second");
        let blobs = history.blobs().list().into_iter();
        assert_eq!(
            blobs.map(|(digest, _)| digest).collect::<Vec<_>>(),
            [second]
        );
    }

    #[test]
    fn blobs_without_a_record_are_swept_at_start() {
        let dir = tempfile::tempdir().expect("a folder");
        let database = database(dir.path());
        let open = || open(dir.path(), &database);
        let history = open();
        let named = history.blobs().put(b"log").expect("stored");
        history.blobs().put(b"lost").expect("stored");
        let record = BuildHistoryRecord {
            r#ref: "id".to_owned(),
            logs: Some(record::log(&named, 3)),
            ..BuildHistoryRecord::default()
        };
        history.records.put(&record).expect("stored");
        drop(history);
        assert_eq!(open().blobs().list(), [(named, 3)]);
    }
}
