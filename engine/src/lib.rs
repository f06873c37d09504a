//! The engine: builds over one state folder, with their progress, history and disk usage.
//!
//! An [`Engine`] owns a state folder and everything in it; one process at a time may have it. A
//! [`BuildRequest`] goes in, progress events come out while it runs, and a [`BuildOutcome`] at the
//! end. The daemon and `lamina build` use it alike.
//!
//! ```text
//! $root/lock format        one owner; version and xattr namespace
//!      /worker             the id that clients know the engine by
//!      /meta.redb          cache keys and records, uses of layers, history
//!      /content/           blobs and named images, an OCI layout
//!      /layers/            sealed layers
//!      /cache-mounts/      directories that steps share across builds
//!      /history/           logs and errors of finished builds
//!      /sources/           what sources keep between builds
//! $run/<name of root>/     what must not outlive the process
//! ```

mod builds;
mod content;
mod database;
mod engine;
mod error;
mod filter;
mod flusher;
mod history;
mod limits;
mod mounts;
mod networks;
mod options;
mod platforms;
mod state;
mod status;
mod usage;
mod worker;

use std::hash::BuildHasher as _;
use std::hash::Hasher as _;
use std::hash::RandomState;
use std::pin::Pin;

use futures_util::Stream;

pub use builds::BuildOutcome;
pub use builds::BuildRequest;
pub use builds::BuildSource;
pub use builds::ExportRequest;
pub use builds::NoSuchBuild;
pub use builds::ReferenceNames;
pub use content::BlobReader;
pub use engine::Engine;
pub use error::OpenError;
pub use history::HistoryError;
pub use options::EngineOptions;
pub use options::ErrorEncoder;
pub use options::GcOptions;
pub use options::GcPolicy;
pub use options::HistoryOptions;
pub use options::SnapshotterKind;
pub use options::Version;
pub use status::StepLogLimits;
pub use usage::UsageError;

/// Messages for a client; dropping them ends what makes them.
pub type Messages<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// Makes up a name that nothing else has.
fn random_id() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
