//! A client for image registries that speak the OCI distribution protocol.
//!
//! [`RegistryClient`] resolves references, downloads blobs into the content store and pushes blobs
//! and manifests. It looks after what every caller would otherwise get wrong: tokens per scope,
//! mirrors, plain http where it is allowed, redirects that must not see credentials, retries of
//! what is transient, resuming of broken downloads, limits on what a registry may send, and
//! digests of all of it (rows SRC-02, SRC-07, EIM-19).
//!
//! [`ImageReference`] is how users name images; [`select_platform`] chooses in an index.
//!
//! ```
//! use lamina_registry::ImageReference;
//!
//! let reference: ImageReference = "debian:12".parse().unwrap();
//! assert_eq!(reference.to_string(), "docker.io/library/debian:12");
//! assert_eq!(reference.familiar(), "debian:12");
//! ```

mod auth;
mod bounded;
mod challenge;
mod client;
mod clients;
mod config;
mod endpoint;
mod error;
mod manifest;
mod mirrors;
mod platform;
mod pull;
mod push;
mod reference;
mod report;
mod request;
mod retry;
mod stream;
mod transport;

pub use bounded::MAX_MANIFEST_BYTES;
pub use client::RegistryClient;
pub use config::HostConfig;
pub use config::KeyPair;
pub use config::Patience;
pub use config::RegistryConfig;
pub use error::RegistryError;
pub use manifest::ManifestKind;
pub use manifest::ResolvedManifest;
pub use platform::select_platform;
pub use reference::ImageReference;
pub use reference::ReferenceError;
pub use report::transport_reason;
pub use retry::RetryPolicy;
