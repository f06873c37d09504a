//! The records on disk: a table of the engine's database.
//!
//! ```text
//! history   id of the build  ->  BuildHistoryRecord, encoded
//! ```
//!
//! A record that cannot be decoded is as good as none.

use std::sync::Arc;

use lamina_proto::control::BuildHistoryRecord;
use lamina_solver::catch_damage;
use prost::Message;
use redb::Database;
use redb::ReadableDatabase;
use redb::ReadableTable;
use redb::TableDefinition;
use redb::TableError;

const HISTORY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("history");

/// The table.
pub(super) struct Records(Arc<Database>);

impl Records {
    pub(super) fn new(database: Arc<Database>) -> Self {
        Self(database)
    }

    pub(super) fn get(&self, id: &str) -> Result<Option<BuildHistoryRecord>, redb::Error> {
        catch_damage(|| self.read(id))
    }

    /// Returns all records by id.
    pub(super) fn all(&self) -> Result<Vec<BuildHistoryRecord>, redb::Error> {
        catch_damage(|| self.read_all())
    }

    pub(super) fn put(&self, record: &BuildHistoryRecord) -> Result<(), redb::Error> {
        catch_damage(|| self.write(record))
    }

    /// Removes records; ids that are not there change nothing.
    pub(super) fn remove(&self, ids: &[String]) -> Result<(), redb::Error> {
        catch_damage(|| self.delete(ids))
    }

    fn read(&self, id: &str) -> Result<Option<BuildHistoryRecord>, redb::Error> {
        let transaction = self.0.begin_read()?;
        let table = match transaction.open_table(HISTORY) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            table => table?,
        };
        let found = table.get(id)?;
        Ok(found.and_then(|data| BuildHistoryRecord::decode(data.value()).ok()))
    }

    fn read_all(&self) -> Result<Vec<BuildHistoryRecord>, redb::Error> {
        let transaction = self.0.begin_read()?;
        let table = match transaction.open_table(HISTORY) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let mut records = Vec::new();
        for entry in table.iter()? {
            records.extend(BuildHistoryRecord::decode(entry?.1.value()).ok());
        }
        Ok(records)
    }

    fn write(&self, record: &BuildHistoryRecord) -> Result<(), redb::Error> {
        let data = record.encode_to_vec();
        let transaction = self.0.begin_write()?;
        let mut table = transaction.open_table(HISTORY)?;
        table.insert(record.r#ref.as_str(), data.as_slice())?;
        drop(table);
        Ok(transaction.commit()?)
    }

    fn delete(&self, ids: &[String]) -> Result<(), redb::Error> {
        let transaction = self.0.begin_write()?;
        let mut table = transaction.open_table(HISTORY)?;
        for id in ids {
            table.remove(id.as_str())?;
        }
        drop(table);
        Ok(transaction.commit()?)
    }
}
