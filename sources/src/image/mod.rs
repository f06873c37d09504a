//! Images: from a registry, from the client's OCI layouts, or from the content store.
//!
//! An index leads to a manifest, a manifest to a config and layers. All of these documents are kept
//! in the content store; what is there is never fetched again. Layers are downloaded
//! and unpacked at the same time; only those that mean something different on other layers wait for
//! the layers below them.

mod docker;
mod document;
mod layout;
mod pinned;
mod resolve;
mod store;
mod unpack;

pub use docker::DockerImageSource;
pub use layout::OciLayoutSource;
pub use layout::find_in_layout;
pub use pinned::PinnedImage;
pub use pinned::PinnedOrigin;
pub use pinned::ResolvedConfig;
pub(crate) use store::ImageStore;
