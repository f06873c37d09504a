//! Wiring: configuration, probes, rootless start, and the engine in one process.
//!
//! An [`Engine`] owns a state folder and everything in it; one process at a time may have it. A
//! [`BuildRequest`] goes in, progress events come out while it runs, and a [`BuildOutcome`] at the
//! end. The daemon and `lamina build` use it alike.
//!
//! ```text
//! $root/lock format        one owner; version and xattr namespace
//!      /meta.redb          cache keys and records
//!      /content/           blobs and named images, an OCI layout
//!      /layers/            sealed layers
//!      /cache-mounts/      directories that steps share across builds
//!      /sources/           what sources keep between builds
//! $run/<name of root>/     what must not outlive the process
//! ```

mod build;
mod engine;
mod error;
mod export;
mod options;
mod state;

pub use build::BuildOutcome;
pub use build::BuildRequest;
pub use build::BuildSource;
pub use build::ExportRequest;
pub use engine::Engine;
pub use error::OpenError;
pub use options::EngineOptions;
pub use options::SnapshotterKind;
pub use options::built_in_frontends;
