//! From a tar to files.
//!
//! Two users with different rules and one engine: layers of images ([`unpack_layer`]: whiteouts,
//! damage is an error) and archives that a Dockerfile adds ([`unpack_archive`]: Docker's rules).
//! Everything goes through `WriteDir`s, one component at a time ([`place`]), so nothing that an
//! archive says can reach outside of the directory that it is unpacked in: `..` stops there,
//! symlinks are resolved inside, and so are the targets of hard links. Archives that try are refused.

mod archive;
mod extract;
mod fill;
mod layer;
mod limits;
mod metadata;
mod place;

pub use archive::ArchiveOptions;
pub use archive::is_archive;
pub use archive::unpack_archive;
pub use layer::UnpackedLayer;
pub use layer::unpack_free_layer;
pub use layer::unpack_image_layer;
pub use layer::unpack_layer;
pub use limits::ArchiveLimits;
