//! Where layers come from: registries, OCI layouts, directories of the client, web servers,
//! repositories of git.
//!
//! A source is used in two steps. [`Source::resolve`] turns what a build names (`alpine:3`, the
//! directory `context`) into a [`Pinned`]: what exactly it is now, and the key under which results
//! made from it are cached. That is cheap and reads no layers. Only when somebody needs the files,
//! [`Source::snapshot`] makes a stack of sealed layers of it.
//!
//! [`Sources`] holds one of each and chooses by the scheme of the identifier (rows SRC-01 to
//! SRC-31, SRC-33, but for SRC-24 and SRC-25).

#![deny(unsafe_code)]

mod clients;
mod error;
mod git;
mod http;
mod image;
mod keyed;
mod local;
mod percent;
mod report;
mod source;
mod sources;
mod stream;
#[expect(unsafe_code, reason = "what a program inherits has no safe interface")]
mod sys;

pub use error::SourceError;
pub use git::GitError;
pub use git::GitObjects;
pub use git::GitRepositories;
pub use git::GitRepositoryUsage;
pub use git::GitSource;
pub use git::GitTimes;
pub use git::GitWish;
pub use git::PinnedGit;
pub use git::judge_git_version;
pub use http::HttpSource;
pub use http::HttpWish;
pub use http::PinnedHttp;
pub use image::DockerImageSource;
pub use image::OciLayoutSource;
pub use image::PinnedImage;
pub use image::PinnedOrigin;
pub use image::ResolvedConfig;
pub use image::find_in_layout;
pub use local::LocalSource;
pub use local::PinnedLocal;
pub use source::Pinned;
pub use source::PinnedKind;
pub use source::Source;
pub use source::SourceContext;
pub use source::SourceRequest;
pub use sources::SourceConfig;
pub use sources::Sources;
