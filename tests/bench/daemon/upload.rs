//! Transfers of contexts: many small files, and a large one.

use std::path::Path;

use crate::Outcome;
use crate::context::send;
use crate::context::write_large_file;
use crate::context::write_small_files;
use crate::subject::Subject;
use crate::table::heading;
use crate::table::row;

/// Size of the large file.
const LARGE_BYTES: usize = 1 << 30;

/// Contexts: many small files, cold and unchanged, and one large file.
pub(crate) async fn upload(subjects: &[Subject]) -> Outcome<()> {
    let place = Path::new("/dev/shm");
    let place = if place.is_dir() {
        place
    } else {
        Path::new("/tmp")
    };
    let small = tempfile::tempdir_in(place)?;
    let large = tempfile::tempdir_in(place)?;
    write_small_files(small.path())?;
    write_large_file(&large.path().join("large"), LARGE_BYTES)?;
    heading("context upload");
    for (name, dir) in [
        ("50,000 small files, cold", small.path()),
        ("50,000 small files, unchanged", small.path()),
        ("one file of 1 GiB, cold", large.path()),
        ("one file of 1 GiB, unchanged", large.path()),
    ] {
        let mut times = Vec::new();
        for subject in subjects {
            times.push(send(subject, dir).await?.as_secs_f64() * 1e3);
        }
        row(name, &times, "ms", false);
    }
    Ok(())
}
