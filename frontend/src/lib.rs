//! The frontends: dockerfile.v0 (text to syntax tree to instructions to LLB), and gateway.v0, which
//! runs frontends that come in images.
//!
//! Three stages, with types between them and each usable alone:
//!
//! | stage | from | to |
//! |---|---|---|
//! | [`syntax`] | text | [`syntax::Dockerfile`]: nodes with their lines |
//! | [`instructions`] | nodes | [`instructions::Stage`]s of typed instructions, checked |
//! | `convert` | stages | a marshalled LLB definition and an image config |
//!
//! [`DockerfileFrontend`] runs them for an engine, or answers what a client asks about the file
//! (`subrequest`); a syntax line hands the build over to [`GatewayFrontend`]. What it hands over are
//! the bytes of a definition, as any client would: there is no private path into the engine.

mod client;
mod context;
mod convert;
pub mod env;
mod error;
pub mod expand;
mod frontend;
mod gateway;
pub mod git;
mod graph;
mod ignore;
pub mod image;
pub mod instructions;
pub mod lines;
pub mod lint;
mod located;
pub mod options;
pub mod paths;
pub mod platform;
pub mod quote;
pub mod reference;
mod subrequest;
pub mod suggest;
pub mod syntax;

pub use convert::EpochStageError;
pub use error::FrontendError;
pub use error::MAX_DOCKERFILE_BYTES;
pub use frontend::DOCKERFILE_VERSION;
pub use frontend::DockerfileFrontend;
pub use gateway::GatewayFrontend;
pub use located::Located;
