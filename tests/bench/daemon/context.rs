//! Directories of the client, as contexts of builds.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use lamina_client::llb::State;
use lamina_session::LocalSession;

use crate::Outcome;
use crate::subject::Subject;

/// Folders of the small context, and files in each.
pub(crate) const FOLDERS: (usize, usize) = (1_000, 50);

/// Lets the daemon fetch `dir`, as any build does with its context.
pub(crate) async fn send(subject: &Subject, dir: &Path) -> Outcome<Duration> {
    build(subject, dir, |context| context).await
}

/// Builds what `make` makes of the context `dir`; returns how long that took.
pub(crate) async fn build(
    subject: &Subject,
    dir: &Path,
    make: impl FnOnce(State) -> State,
) -> Outcome<Duration> {
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
    subject.solve(&make(context), session).await
}

/// Writes 50,000 files of 0.2 to 8 KB in 1,000 folders.
pub(crate) fn write_small_files(root: &Path) -> Outcome<()> {
    let block = noise(8 << 10);
    for folder in 0..FOLDERS.0 {
        let folder_path = root.join(folder.to_string());
        fs::create_dir(&folder_path)?;
        for file in 0..FOLDERS.1 {
            let size = 200 + (folder * FOLDERS.1 + file) % 7_800;
            fs::write(folder_path.join(file.to_string()), &block[..size])?;
        }
    }
    Ok(())
}

/// Writes a file of `length` bytes, a multiple of 1 MiB.
pub(crate) fn write_large_file(path: &Path, length: usize) -> Outcome<()> {
    let block = noise(1 << 20);
    let mut file = fs::File::create(path)?;
    for _ in 0..length / block.len() {
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
