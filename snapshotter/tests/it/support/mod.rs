//! Stores in temporary folders, random numbers, and pictures of trees.

pub(crate) mod picture;
pub(crate) mod random;
pub(crate) mod script;
pub(crate) mod stacks;
pub(crate) mod steps;
pub(crate) mod sys;

use std::path::Path;
use std::sync::Arc;

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Change;
use lamina_snapshotter::ChangeKind;
use lamina_snapshotter::KernelOverlay;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::StoreFormat;
use lamina_snapshotter::WriteDir;
use lamina_snapshotter::XattrNamespace;
use lamina_types::CancelToken;
use lamina_types::RootedPath;

/// Set in the process that runs tests in a user namespace of its own.
pub(crate) const USER_NAMESPACE: &str = "LAMINA_TEST_USER_NAMESPACE";

/// Says whether this process is root of a user namespace that was made for it.
pub(crate) fn in_user_namespace() -> bool {
    std::env::var_os(USER_NAMESPACE).is_some()
}

/// A store that goes away with the test.
pub(crate) struct Fixture {
    pub(crate) store: SnapshotStore,
    format: StoreFormat,
    folder: Arc<tempfile::TempDir>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(namespace().into())
    }

    /// A store that keeps owners in attributes.
    pub(crate) fn stored() -> Self {
        Self::with(StoreFormat::STORED)
    }

    fn with(format: StoreFormat) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let store = SnapshotStore::open(&folder.path().join("layers"), format).unwrap();
        Self {
            store,
            format,
            folder,
        }
    }

    /// Opens the store again, as the next process would.
    pub(crate) fn reopen(self) -> Self {
        let Self {
            store,
            format,
            folder,
        } = self;
        drop(store);
        let store = SnapshotStore::open(&folder.path().join("layers"), format).unwrap();
        Self {
            store,
            format,
            folder,
        }
    }

    pub(crate) fn layers(&self) -> std::path::PathBuf {
        self.folder.path().join("layers")
    }

    /// Makes a layer on top of `lower`.
    pub(crate) fn layer(
        &self,
        lower: &LayerStack,
        write: impl FnOnce(&WriteDir) -> Result<(), SnapshotError>,
    ) -> Layer {
        let active = self.store.prepare(lower).unwrap();
        write(&active.writer().root().unwrap()).unwrap();
        active.commit(&CancelToken::new()).unwrap()
    }

    /// Makes a layer on top of `lower` and returns both.
    pub(crate) fn stack(
        &self,
        lower: &LayerStack,
        write: impl FnOnce(&WriteDir) -> Result<(), SnapshotError>,
    ) -> LayerStack {
        lower.push(self.layer(lower, write))
    }

    /// Returns what mounts, or says why not.
    pub(crate) fn overlay(&self, test: &str) -> Option<KernelOverlay> {
        match KernelOverlay::probe(&self.store) {
            Ok(overlay) => Some(overlay),
            Err(error) => {
                skipped(test, &error.to_string());
                None
            }
        }
    }
}

/// The attributes that this process may set.
pub(crate) fn namespace() -> XattrNamespace {
    if in_user_namespace() || !rustix::process::geteuid().is_root() {
        XattrNamespace::User
    } else {
        XattrNamespace::Trusted
    }
}

#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
pub(crate) fn skipped(test: &str, reason: &str) {
    eprintln!("skipped: {test}: {reason}");
}

pub(crate) fn commit(active: ActiveLayer) -> Layer {
    active.commit(&CancelToken::new()).unwrap()
}

pub(crate) fn path(text: &str) -> RootedPath {
    RootedPath::new(text)
}

/// Writes a file with content.
pub(crate) fn write(dir: &WriteDir, name: &str, text: &str) -> Result<(), SnapshotError> {
    use std::io::Write as _;
    let mut file = dir.create_file(name.as_bytes(), 0o644)?;
    file.write_all(text.as_bytes()).unwrap();
    Ok(())
}

/// Returns the host path by which a descriptor's tree is reached.
pub(crate) fn host_path(fd: &std::os::fd::OwnedFd) -> std::path::PathBuf {
    use std::os::fd::AsRawFd as _;
    Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string())
}

/// Lists what a layer says, implied parents in brackets and deletions with a minus.
pub(crate) fn summary(layer: &Layer) -> Vec<String> {
    let line = |change: Change| match change.kind {
        ChangeKind::Whiteout => format!("-{}", change.path),
        ChangeKind::Entry {
            implied_parent: true,
            ..
        } => format!("({})", change.path),
        ChangeKind::Entry { .. } => change.path.to_string(),
        ChangeKind::HardLink { first, .. } => format!("{}={first}", change.path),
    };
    let changes = layer.changes().unwrap();
    changes.map(|change| line(change.unwrap())).collect()
}
