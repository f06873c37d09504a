//! Blobs and images in an OCI layout, tar to layer and back, compression.
//!
//! ```text
//! registry, oci-layout -> ContentStore -> unpack_layer -> sealed layer   (a pull)
//! sealed layer -> pack_layer -> ContentStore -> registry, archives      (an export)
//! archive in a build context -> unpack_archive -> active layer          (ADD)
//! tree -> write_tree_tar -> the user                                    (tar output)
//! ```
//! Images come from strangers: every read has a bound, every digest is checked, and unpacking goes
//! through directory handles so that no name leads out of its root. What is written depends on the
//! content alone, never on threads, clocks or the order of a directory.

mod archive;
mod archive_writer;
mod compression;
mod entry;
mod error;
mod image_config;
mod ingest;
mod layout_index;
mod listing;
mod manifest;
pub mod media_type;
mod pack;
mod serde_go;
mod store;
mod unpack;

pub use archive_writer::ArchiveWriter;
pub use archive_writer::TreeOptions;
pub use archive_writer::write_tree_tar;
pub use compression::Compression;
pub use compression::decoder;
pub use error::ContentError;
pub use image_config::DEFAULT_PATH;
pub use image_config::Healthcheck;
pub use image_config::History;
pub use image_config::ImageConfig;
pub use image_config::RootFs;
pub use image_config::RunConfig;
pub use ingest::Ingest;
pub use layout_index::set_tag;
pub use layout_index::tagged;
pub use manifest::Descriptor;
pub use manifest::Index;
pub use manifest::Manifest;
pub use pack::convert_layer;
pub use pack::pack_layer;
pub use serde_go::to_go_json;
pub use serde_go::to_go_json_indented;
pub use store::ContentStore;
pub use store::MAX_METADATA_BYTES;
pub use store::OCI_LAYOUT;
pub use store::REF_NAME;
pub use unpack::ArchiveLimits;
pub use unpack::ArchiveOptions;
pub use unpack::UnpackedLayer;
pub use unpack::is_archive;
pub use unpack::unpack_archive;
pub use unpack::unpack_free_layer;
pub use unpack::unpack_image_layer;
pub use unpack::unpack_layer;
