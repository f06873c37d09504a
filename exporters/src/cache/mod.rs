//! Caches on the move: what was computed from what, and the layers that came of it.
//!
//! ```text
//! cache graph -> config (records) + layer blobs -> manifest -> client, registry     (export)
//! manifest -> config -> cache graph;  layers when a record is used                  (import)
//! ```
//! | type | where the manifest is | rows |
//! |---|---|---|
//! | `local` | a store of the client, by digest | CEX-06, CIM-02 |
//! | `registry` | under a reference | CEX-05, CIM-01 |
//! | `inline` | nowhere: the records are in the config of the exported image | CEX-04 |
//!
//! ```text
//! config.rs  the records as JSON        export.rs  attributes, and writing to `target.rs`
//! inline.rs  the same inside an image   import.rs  attributes, and reading from `origin.rs`
//!                                       layers.rs  a record's layers, fetched and unpacked
//! ```
//! The formats are BuildKit's (row CEX-03). Its keys mean nothing here and ours mean nothing there,
//! so a cache of the other is read, and nothing is found in it.

mod config;
mod export;
mod import;
mod inline;
mod layers;
mod origin;
mod target;

pub use export::CacheExporter;
pub use import::CacheImporter;
pub use import::ImportedCache;
pub use inline::INLINE_CACHE_KEY;
pub use inline::inline_records;

pub(crate) use inline::CONFIG_FIELD as INLINE_CACHE_FIELD;
pub(crate) use inline::field_of as inline_cache_value;

/// Answers with the descriptor of the manifest, for clients that keep an index of caches.
pub(crate) const MANIFEST_KEY: &str = "cache.manifest";
/// Says what a layer is when unpacked.
pub(crate) const UNCOMPRESSED: &str = "containerd.io/uncompressed";
