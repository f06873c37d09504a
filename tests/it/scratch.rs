//! Folders that tests work in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Once;

use tempfile::TempDir;

/// How the names of scratch folders begin; the number of the test process follows.
const SCRATCH: &str = "lamina-test-";

/// Returns a folder in memory where possible, that every user may enter.
///
/// It is gone with the value. What outlives a test run, as statics do, goes with the next one.
pub(crate) fn scratch() -> TempDir {
    static SWEPT: Once = Once::new();
    let shared = Path::new("/dev/shm");
    let place = if shared.is_dir() {
        shared.to_owned()
    } else {
        std::env::temp_dir()
    };
    SWEPT.call_once(|| sweep(&place));
    let dir = tempfile::Builder::new()
        .prefix(&format!("{SCRATCH}{}-", std::process::id()))
        .tempdir_in(place)
        .expect("a folder");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    dir
}

/// Removes the folders of test runs that have ended.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| {
            let (process, _) = name.strip_prefix(SCRATCH)?.split_once('-')?;
            process.parse::<u32>().ok()
        });
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
