//! Where results go: directories, tars, image archives, registries.
//!
//! ```text
//! parse("oci", attrs, 0) -> Exporter --export(input, context)--> response keys
//! ```
//! | type | target | rows |
//! |---|---|---|
//! | `image` | the content store by name, and registries | EIM |
//! | `oci`, `docker` | an image archive on the client | EOC |
//! | `local` | a directory on the client | ELO |
//! | `tar` | the tree as one tar on the client | ELO |
//!
//! Caches of builds go the same ways, and come back ([`CacheExporter`], [`CacheImporter`]).
//!
//! Images are committed first: layers to blobs, config with history and diff ids, manifest, and an
//! index if there are several platforms. What is written depends on the result alone.

mod annotations;
mod attrs;
mod blobs;
mod cache;
mod epoch;
mod error;
mod exporter;
mod image;
mod input;
mod local;
mod pack;
mod platforms;
mod steps;
mod tar;
mod trees;

pub use cache::CacheExporter;
pub use cache::CacheImporter;
pub use cache::INLINE_CACHE_KEY;
pub use cache::ImportedCache;
pub use cache::inline_records;
pub use error::ExportError;
pub use exporter::Exporter;
pub use exporter::parse;
pub use input::ExportContext;
pub use input::ExportInput;
pub use input::ExportRefs;
pub use local::write_tree;
