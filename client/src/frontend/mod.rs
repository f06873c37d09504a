//! The entry point of programs that are frontends (row GCL-18).
//!
//! The daemon runs such a program from an image. Standard input and output are the connection on
//! which the program drives the build, variables say what the build is about, and what is written
//! to standard error is shown to the user if the program fails.
//!
//! ```text
//! daemon ── BUILDKIT_FRONTEND_OPT_*, BUILDKIT_SESSION_ID, .. ──> Invocation
//!        <─ stdout ── calls of LLBBridge ── stdin ─────────────> Gateway
//!        <─────────── Return ─────────────────────────────────── what the callback returns
//! ```
//!
//! ```no_run
//! use lamina_client::Failure;
//! use lamina_client::frontend;
//! use lamina_client::llb::State;
//! use lamina_proto::gateway;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), lamina_client::ClientError> {
//!     frontend::run(|gateway, invocation| async move {
//!         let Some(name) = invocation.options.get("build-arg:NAME") else {
//!             return Err(Failure::new("NAME is missing").into());
//!         };
//!         let greeting = State::scratch().mkfile("/greeting", 0o644, format!("hello {name}\n"));
//!         let request = gateway::SolveRequest {
//!             definition: Some(greeting.definition()),
//!             ..gateway::SolveRequest::default()
//!         };
//!         gateway.solve(request).await
//!     })
//!     .await
//! }
//! ```

mod invocation;
mod streams;

use std::future::Future;

use lamina_proto::gateway;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::Client;
use crate::ClientError;
use crate::Gateway;

pub use invocation::Invocation;
pub use invocation::Worker;

/// What messages call the daemon, whose address a frontend does not know.
const PEER: &str = "the other end of standard input and output";

/// Drives the build that this process was started for, and returns its result to the daemon.
///
/// What `build` returns goes to the daemon, an error with its details (rows GW-30, GW-34); the
/// process should then end with success. It must be called once, from a Tokio runtime with I/O
/// and time, and nothing else may use standard input or output.
///
/// # Errors
/// [`ClientError::Pipe`] if the standard streams are no pipes;
/// [`ClientError::Unreachable`] if nobody serves them;
/// [`ClientError::Malformed`] if the daemon describes its workers in no known way;
/// why the result, or the error of `build`, was not taken.
pub async fn run<F, R>(build: F) -> Result<(), ClientError>
where
    F: FnOnce(Gateway, Invocation) -> R,
    R: Future<Output = Result<gateway::Result, ClientError>>,
{
    let channel = streams::connect().await?;
    let gateway = Gateway::alone(Client::over(channel, PEER));
    let outcome = match Invocation::of_process() {
        Ok(invocation) => build(gateway.clone(), invocation).await,
        Err(error) => Err(error),
    };
    gateway.finish(&outcome).await
}

/// Drives the one build at the other end of `stream`, such as a pipe within this process, and
/// returns its result there. The stream ends with that.
///
/// # Errors
/// [`ClientError::Unreachable`] if nobody serves the stream; why the result, or the error of
/// `build`, was not taken.
pub async fn drive<S, F, R>(stream: S, build: F) -> Result<(), ClientError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: FnOnce(Gateway) -> R,
    R: Future<Output = Result<gateway::Result, ClientError>>,
{
    let gateway = Gateway::over(stream).await?;
    let outcome = build(gateway.clone()).await;
    gateway.finish(&outcome).await
}
