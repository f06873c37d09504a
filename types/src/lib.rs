//! Ids, in-image paths, file metadata, platforms, cancellation, progress and the blocking pool.
//!
//! Everything here is shared by crates that must not see each other. Nothing here does I/O on its
//! own account, and nothing knows LLB, layers or the wire.

mod blocking;
mod cache_graph;
mod cancel;
mod digest;
mod error;
mod first_error;
mod full_disk;
mod path;
mod platform;
mod progress;
mod redact;
mod stat;
mod warning;

pub use blocking::Blocking;
pub use blocking::BlockingError;
pub use blocking::panic_text;
pub use cache_graph::CacheGraph;
pub use cache_graph::GraphLink;
pub use cache_graph::GraphRecord;
pub use cache_graph::GraphResult;
pub use cancel::CancelOnDrop;
pub use cancel::CancelToken;
pub use cancel::Cancelled;
pub use digest::ChainId;
pub use digest::DiffId;
pub use digest::Digest;
pub use digest::DigestError;
pub use digest::LayerId;
pub use digest::Sha256Hasher;
pub use error::IoContext;
pub use error::PathError;
pub use first_error::FirstError;
pub use full_disk::is_disk_full;
pub use path::RootedPath;
pub use platform::Platform;
pub use platform::PlatformError;
pub use progress::LogStream;
pub use progress::Progress;
pub use progress::ProgressSink;
pub use progress::StepStatus;
pub use redact::without_credentials;
pub use stat::DeviceNumber;
pub use stat::FileKind;
pub use stat::Stat;
pub use warning::Position;
pub use warning::SourceFile;
pub use warning::SourceRange;
pub use warning::Warning;
