//! Contexts: many small files, and a large one.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use lamina_client::llb::State;
use lamina_session::LocalSession;

use crate::Outcome;
use crate::subject::Subject;
use crate::table::heading;
use crate::table::row;

/// Folders of the small context, and files in each.
const CONTEXT: (usize, usize) = (1_000, 50);
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
    write_large_file(&large.path().join("large"))?;
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

/// Lets the daemon fetch `dir`, as any build does with its context.
async fn send(subject: &Subject, dir: &Path) -> Outcome<Duration> {
    let key = dir.display().to_string();
    // Another vertex in each build, as clients make it, so that only the transfer is incremental.
    let unique = format!("{key} {:?}", Instant::now());
    let attrs = [
        ("local.sharedkeyhint", key.as_str()),
        ("local.unique", &unique),
    ];
    let context = State::source("local://context", &attrs, None);
    let session = LocalSession::builder()
        .local_dir("context", dir)
        .shared_key("bench")
        .build();
    subject.solve(&context, session).await
}

fn write_small_files(root: &Path) -> Outcome<()> {
    let block = noise(8 << 10);
    for folder in 0..CONTEXT.0 {
        let folder_path = root.join(folder.to_string());
        fs::create_dir(&folder_path)?;
        for file in 0..CONTEXT.1 {
            let size = 200 + (folder * CONTEXT.1 + file) % 7_800;
            fs::write(folder_path.join(file.to_string()), &block[..size])?;
        }
    }
    Ok(())
}

fn write_large_file(path: &Path) -> Outcome<()> {
    let block = noise(1 << 20);
    let mut file = fs::File::create(path)?;
    for _ in 0..LARGE_BYTES / block.len() {
        file.write_all(&block)?;
    }
    Ok(())
}

/// Bytes that do not compress; the same in each run.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(count).collect()
}
