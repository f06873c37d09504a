//! An engine over a temporary state folder, in memory where the machine has that.

use std::path::Path;
use std::path::PathBuf;

use lamina_engine::Engine;
use lamina_engine::EngineOptions;
use lamina_engine::OpenError;
use lamina_snapshotter::SnapshotError;
use tempfile::TempDir;

/// A temporary folder, best in memory: disks of test machines swing by a factor of ten.
pub(crate) fn temporary() -> TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    tempfile::Builder::new()
        .prefix("lamina-test-")
        .tempdir_in(place)
        .expect("a folder")
}

/// The usual options for the state folder `dir/root`.
pub(crate) fn options(dir: &Path) -> EngineOptions {
    EngineOptions {
        program: PathBuf::from("/proc/self/exe"),
        ..EngineOptions::new(dir.join("root"), dir.join("run"))
    }
}

/// An engine over `dir/root`; `Err` = why this machine cannot have one.
pub(crate) async fn engine(dir: &Path) -> Result<Engine, String> {
    open(options(dir)).await
}

/// An engine with these options; `Err` = what this machine lacks. Only that is a reason to skip a
/// test: any other failure is one of the test.
pub(crate) async fn open(options: EngineOptions) -> Result<Engine, String> {
    match Engine::open(options).await {
        Ok(engine) => Ok(engine),
        Err(OpenError::Snapshots(
            lack @ (SnapshotError::Unavailable { .. } | SnapshotError::NoBackend { .. }),
        )) => Err(lack.to_string()),
        Err(error) => panic!("the engine does not open: {error}"),
    }
}

/// A runtime for one test.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}
