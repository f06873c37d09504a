//! Builds that the command drives itself, as buildx does: to look at what a step has left, to run
//! something on the result, or to print what its metadata answers.
//!
//! ```text
//! a daemon            Client::build ── the daemon's socket ───┐
//!                                                             ├──► Driver::drive(Gateway)
//! an engine in here   InProcess, a frontend ── a pipe ────────┘
//! ```
//! Either way the driver talks LLBBridge, so it is written once.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use async_trait::async_trait;
use lamina_client::ClientError;
use lamina_client::Gateway;
use lamina_engine::BuildSource;
use lamina_grpc::PipeServer;
use lamina_llb::Bridge;
use lamina_llb::BridgeServer as _;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_llb::Pipe;
use lamina_proto::gateway;
use tokio::io::DuplexStream;

use super::job::Asked;
use super::shell::DebugShell;
use crate::call::Answer;
use crate::call::Call;
use crate::progress::Holder;
use crate::run::Run;

/// Bytes that wait in the pipe to the engine of this process.
const PIPE_BYTES: usize = 1 << 20;

/// What is done with a build beside building.
pub(super) enum Driver {
    /// A shell at the step that fails.
    Shell(DebugShell),
    /// A program on the result.
    Run(Box<Run>),
    /// A question about the Dockerfile.
    Call(Call),
}

/// A driver at work.
pub(super) struct Driven {
    pub(super) driver: Driver,
    /// The frontend that makes the result.
    pub(super) frontend: gateway::SolveRequest,
    /// Keeps the display still while somebody else has the screen.
    pub(super) holder: Holder,
    /// What a build that succeeds leaves to the end.
    end: Mutex<Option<End>>,
}

/// What is left to do when the display has ended.
enum End {
    /// End with this code.
    Code(u8),
    /// Show this.
    Answer(Answer),
}

impl Driven {
    pub(super) fn new(driver: Driver, source: &BuildSource, holder: Holder) -> Self {
        Self {
            driver,
            frontend: frontend_of(source),
            holder,
            end: Mutex::default(),
        }
    }

    /// Builds, and does what there is to do with it.
    pub(super) async fn drive(&self, gateway: Gateway) -> Result<gateway::Result, ClientError> {
        let built = gateway.solve(self.frontend.clone()).await;
        match &self.driver {
            Driver::Shell(shell) => {
                if let Err(ClientError::Daemon(failure)) = &built {
                    shell.open(&gateway, failure, &self.holder).await;
                }
                built
            }
            Driver::Run(run) => {
                let built = built?;
                let held = self.holder.hold(None).await;
                let code = run.on(&gateway, &self.frontend, &built).await;
                drop(held);
                self.leave(End::Code(code?));
                // Nothing of the container is a result.
                Ok(gateway::Result::default())
            }
            Driver::Call(_) => {
                self.leave(End::Answer(built?.metadata));
                Ok(gateway::Result::default())
            }
        }
    }

    /// Drives the build of an engine in this process, over its pipe.
    pub(super) async fn drive_over(&self, pipe: DuplexStream) {
        let driven = lamina_client::frontend::drive(pipe, |gateway| self.drive(gateway)).await;
        if let Err(error) = driven {
            // The build has ended first, and says why.
            tracing::debug!(%error, "the pipe of the engine ended");
        }
    }

    fn leave(&self, end: End) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// Does what is left once the display has ended; returns what the command ends with, unless the
    /// build failed.
    pub(super) fn finish(&self) -> Option<u8> {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        match (end.as_ref()?, &self.driver) {
            (End::Code(code), _) => Some(*code),
            (End::Answer(answer), Driver::Call(call)) => Some(call.show(answer)),
            (End::Answer(_), _) => None,
        }
    }
}

/// Asks for what a build of `source` would make, at once and not when it is needed.
fn frontend_of(source: &BuildSource) -> gateway::SolveRequest {
    let asked = Asked::of(source);
    gateway::SolveRequest {
        evaluate: true,
        definition: asked.definition,
        frontend: asked.frontend,
        frontend_opt: asked.options,
        frontend_inputs: asked.inputs,
        ..gateway::SolveRequest::default()
    }
}

/// The frontend of an engine in this process that is this command itself.
struct InProcess(Mutex<Option<DuplexStream>>);

/// Returns a source for an engine in this process, and the pipe from which it is driven.
pub(super) fn in_process() -> (BuildSource, Option<DuplexStream>) {
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let source = BuildSource::Client {
        frontend: Arc::new(InProcess(Mutex::new(Some(theirs)))),
        options: Default::default(),
        inputs: Default::default(),
    };
    (source, Some(ours))
}

#[async_trait]
impl Frontend for InProcess {
    async fn build(&self, bridge: Arc<dyn Bridge>) -> Result<BuildResult, BuildError> {
        let pipe = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let unanswered = || Err(BuildError::cancelled());
        let Some(pipe) = pipe else {
            return unanswered();
        };
        let (reader, writer) = tokio::io::split(pipe);
        let pipe = Pipe {
            reader: Box::new(reader),
            writer: Box::new(writer),
        };
        PipeServer
            .serve(bridge, pipe)
            .await
            .unwrap_or_else(unanswered)
    }
}
