//! The engine's database: opened, or put aside.

use std::fs;
use std::io;
use std::path::Path;

use lamina_solver::catch_damage;
use lamina_types::IoContext;
use redb::Database;

use crate::OpenError;

/// Memory for pages of the database: look-ups touch few of them, and the kernel caches the file too.
const CACHE_BYTES: usize = 8 << 20;

const FILE: &str = "meta.redb";

/// Opens the database in the state folder `root`. A damaged one is put aside: what it knew is lost, not
/// the builds. Layers describe themselves and stay.
pub(crate) fn open(root: &Path) -> Result<Database, OpenError> {
    let path = root.join(FILE);
    let opened = match open_checked(&path) {
        Err(error) if is_damage(&error) => {
            tracing::warn!(%error, "the database is damaged; starting with an empty cache");
            let aside = root.join("meta.redb.damaged");
            fs::rename(&path, &aside).at(path.display())?;
            open_checked(&path)
        }
        other => other,
    };
    opened.map_err(|source| OpenError::Database {
        path: path.display().to_string(),
        source: Box::new(source),
    })
}

/// Opens the database after a look at all of it: 30 ms for 100,000 records. redb itself does that only
/// after a crash, and panics over pages that make no sense; a record that changed by itself would be
/// worse still.
fn open_checked(path: &Path) -> Result<Database, redb::Error> {
    catch_damage(|| {
        let mut database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)?;
        if !database.check_integrity()? {
            tracing::warn!("the database was damaged and has been mended");
        }
        Ok(database)
    })
}

/// Says whether the file is no database any more, rather than one that cannot be had.
fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) => true,
        redb::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}
