//! Images: committed to the content store, then stored by name, pushed, or put into an archive.
//!
//! ```text
//! options.rs   attributes that all image outputs share
//! config.rs    diff ids, history and times of a config
//! commit.rs    layers -> blobs, config, manifest, index
//! archive.rs   `oci` and `docker`     image.rs + push.rs   `image`
//! ```

mod archive;
mod archive_files;
mod commit;
mod config;
mod image_exporter;
mod names;
mod options;
mod push;
mod response;

pub(crate) use archive::ArchiveExporter;
pub(crate) use archive::ArchiveFormat;
pub(crate) use image_exporter::ImageExporter;
pub(crate) use image_exporter::registry_for;
pub(crate) use names::parse_name;
pub(crate) use options::take_packing;
