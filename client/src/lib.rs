//! A client of the daemon: Control, the session behind it, and the gateway.
//!
//! ```text
//! Client::solve     runs Solve, Status and Session together; a build of a definition or a frontend
//! Client::build     the same, driven by a callback over the gateway (as buildx does)
//! Client::*         Info, workers, disk usage, prune, history, blobs
//! Gateway           what the callback asks: solve, read files, resolve images
//! Container         processes on what the build has made, or on what a failed step has left
//! frontend::run     the same from a program that the daemon runs from an image
//! llb               makes definitions
//! ```
//! The session serves any [`Session`](lamina_session::Session) of this process to the daemon: the
//! daemon asks for directories, secrets and credentials when a step needs them, and hands results
//! back.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use lamina_client::BuildRequest;
//! use lamina_client::Client;
//! use lamina_client::llb::State;
//! use lamina_session::LocalSession;
//! use lamina_types::CancelToken;
//!
//! # async fn example() -> Result<(), lamina_client::ClientError> {
//! let client = Client::connect("unix:///run/lamina/lamina.sock", &Default::default()).await?;
//! let session = LocalSession::builder().directory_target(0, "out").build();
//! let mut request = BuildRequest::new(Arc::new(session));
//! request.definition = Some(State::scratch().mkfile("/hello", 0o644, "hi").definition());
//! request.exports.push(("local".to_owned(), Default::default()));
//! let (events, _) = tokio::sync::mpsc::channel(16);
//! client.solve(request, events, &CancelToken::new()).await?;
//! # Ok(())
//! # }
//! ```

mod client;
mod connect;
mod containers;
mod details;
mod error;
mod events;
mod failure;
pub mod frontend;
mod gateway;
pub mod llb;
mod request;
mod session_server;
mod solve;

pub use bytes::Bytes;
pub use client::Client;
pub use client::Messages;
pub use connect::TlsFiles;
pub use containers::Container;
pub use containers::ContainerProcess;
pub use containers::Exit;
pub use containers::ProcessEvent;
pub use containers::ProcessInput;
pub use error::ClientError;
pub use events::StatusSender;
pub use failure::Failure;
pub use gateway::Gateway;
pub use request::BuildRequest;

/// The largest message in either direction (row NET-04).
const MESSAGE_BYTES: usize = 16 << 20;

/// Headers and trailers of one answer: the details of an error carry the whole file that is wrong,
/// in base64 twice over. As much as stock clients take.
const HEADER_BYTES: u32 = 16 << 20;
