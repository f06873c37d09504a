//! What tests need of the machine, and stores to work in.

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::StoreFormat;
use lamina_snapshotter::XattrNamespace;
use lamina_testkit::namespace;
use lamina_testkit::namespace::Ids;
use lamina_types::CancelToken;
use tempfile::TempDir;

/// Set where everything is slow: one in so many cases is enough.
const ONE_IN: &str = "LAMINA_TEST_ONE_IN";

/// Returns which part of many cases is tried: one in so many.
pub(crate) fn one_in() -> usize {
    let one_in = std::env::var(ONE_IN)
        .ok()
        .and_then(|text| text.parse().ok());
    one_in.unwrap_or(1).max(1)
}

/// A store, in memory if that can hold it; removed when dropped.
pub(crate) struct Machine {
    pub(crate) store: SnapshotStore,
    pub(crate) folder: TempDir,
}

impl Machine {
    /// Makes a store; `None` after saying why where the machine does not let tests set owners,
    /// devices and attributes.
    pub(crate) fn new() -> Option<Self> {
        // Before Linux 6.6 files in memory have no attributes of users.
        let in_memory = tempfile::tempdir_in("/dev/shm").ok();
        let in_memory = in_memory.filter(|folder| try_xattr(folder).is_ok());
        let folder = in_memory.map_or_else(tempfile::tempdir, Ok);
        Self::at(folder.expect("a temporary directory"))
    }

    /// As [`Machine::new`], with the store in a folder of the caller's choice.
    pub(crate) fn at(folder: TempDir) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return skip("needs root, to set owners and make devices");
        }
        if let Err(error) = try_xattr(&folder) {
            return skip(&format!("extended attributes do not work: {error}"));
        }
        let format = match namespace::inside() {
            Some(Ids::One) => StoreFormat::STORED,
            Some(Ids::All) => XattrNamespace::User.into(),
            None => XattrNamespace::Trusted.into(),
        };
        let store = SnapshotStore::open(folder.path(), format).expect("an empty store");
        Some(Self { store, folder })
    }

    /// Starts a layer on `lower`.
    pub(crate) fn on(&self, lower: &LayerStack) -> ActiveLayer {
        self.store.prepare(lower).expect("a new layer")
    }

    /// Seals `layer` and returns its stack.
    pub(crate) fn seal(&self, layer: ActiveLayer) -> LayerStack {
        let lower = layer.lower().clone();
        lower.push(layer.commit(&CancelToken::new()).expect("a sealed layer"))
    }
}

/// Says why a test is skipped.
pub(crate) fn skip<T>(reason: &str) -> Option<T> {
    use std::io::Write;
    let line = format!("skipped: {reason}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error");
    None
}

/// Gives back a folder whose files can have the attributes of layers.
fn try_xattr(folder: &TempDir) -> std::io::Result<()> {
    let file = folder.path().join("probe");
    std::fs::write(&file, b"")?;
    let flags = rustix::fs::XattrFlags::empty();
    let names = match namespace::inside() {
        Some(_) => &["user.lamina"][..],
        None => &["user.lamina", "trusted.overlay.lamina"],
    };
    for &name in names {
        rustix::fs::setxattr(&file, name, b"x", flags)?;
    }
    std::fs::remove_file(&file)
}
