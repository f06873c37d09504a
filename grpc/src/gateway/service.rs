//! The service: finds the build of a call and hands the call to it.

use std::sync::Arc;

use bytes::Bytes;
use lamina_llb::BuildError;
use lamina_proto::gateway;
use lamina_proto::gateway::llb_bridge_server::LlbBridge;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::metadata::MetadataMap;

use super::Builds;
use super::DrivenBuild;
use super::caps;
use super::exec;
use super::exec::ExecStream;
use crate::status;

/// The metadata that names the build of a call (row NET-07).
const BUILD_ID: &str = "buildkit-controlapi-buildid";

type Answer<T> = Result<Response<T>, Status>;

/// LLBBridge.
#[derive(Clone)]
pub(crate) struct GatewayService(Route);

/// Which build a call is for.
#[derive(Clone)]
enum Route {
    /// The one that it names.
    ById(Builds),
    /// The only one.
    One(Arc<DrivenBuild>),
}

impl GatewayService {
    /// Makes the service of the daemon socket.
    pub(crate) fn by_id(builds: Builds) -> Self {
        Self(Route::ById(builds))
    }

    /// Makes the service of one build.
    pub(super) fn of(build: Arc<DrivenBuild>) -> Self {
        Self(Route::One(build))
    }

    /// Answers ReadDir as encoded for the wire.
    pub(super) async fn listing(
        &self,
        request: Request<gateway::ReadDirRequest>,
    ) -> Result<Bytes, Status> {
        let build = self.find("ReadDir", request.metadata()).await?;
        let answer = build.listing(request.into_inner()).await;
        answer.map_err(|error| build.status(&error))
    }

    async fn find(&self, method: &str, call: &MetadataMap) -> Result<Arc<DrivenBuild>, Status> {
        let builds = match &self.0 {
            Route::ById(builds) => builds,
            Route::One(build) => return Ok(Arc::clone(build)),
        };
        let found = match build_id(call) {
            Some(id) => builds.get(id).await,
            None => Err(BuildError::new("no buildid found in context")),
        };
        found.map_err(|mut error| {
            error.message = format!("forwarding {method}: {}", error.message);
            status::to_status(&error)
        })
    }
}

/// Exactly one value counts.
fn build_id(call: &MetadataMap) -> Option<&str> {
    let mut values = call.get_all(BUILD_ID).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().filter(|id| !id.is_empty()),
        _ => None,
    }
}

/// Finds the build of `$request` and answers with what `$call` gives.
macro_rules! forward {
    ($self:ident, $method:literal, $request:ident, $call:ident) => {{
        let build = $self.find($method, $request.metadata()).await?;
        let answer = build.$call($request.into_inner()).await;
        answer
            .map(Response::new)
            .map_err(|error| build.status(&error))
    }};
}

#[tonic::async_trait]
impl LlbBridge for GatewayService {
    type ExecProcessStream = ExecStream;

    async fn resolve_image_config(
        &self,
        request: Request<gateway::ResolveImageConfigRequest>,
    ) -> Answer<gateway::ResolveImageConfigResponse> {
        forward!(self, "ResolveImageConfig", request, resolve_image_config)
    }

    async fn resolve_source_meta(
        &self,
        request: Request<gateway::ResolveSourceMetaRequest>,
    ) -> Answer<gateway::ResolveSourceMetaResponse> {
        forward!(self, "ResolveSourceMeta", request, resolve_source)
    }

    async fn solve(
        &self,
        request: Request<gateway::SolveRequest>,
    ) -> Answer<gateway::SolveResponse> {
        forward!(self, "Solve", request, solve)
    }

    async fn read_file(
        &self,
        request: Request<gateway::ReadFileRequest>,
    ) -> Answer<gateway::ReadFileResponse> {
        forward!(self, "ReadFile", request, read_file)
    }

    async fn read_dir(
        &self,
        request: Request<gateway::ReadDirRequest>,
    ) -> Answer<gateway::ReadDirResponse> {
        forward!(self, "ReadDir", request, read_dir)
    }

    async fn stat_file(
        &self,
        request: Request<gateway::StatFileRequest>,
    ) -> Answer<gateway::StatFileResponse> {
        forward!(self, "StatFile", request, stat_file)
    }

    async fn evaluate(
        &self,
        request: Request<gateway::EvaluateRequest>,
    ) -> Answer<gateway::EvaluateResponse> {
        forward!(self, "Evaluate", request, evaluate)
    }

    async fn ping(&self, request: Request<gateway::PingRequest>) -> Answer<gateway::PongResponse> {
        let build = self.find("Ping", request.metadata()).await?;
        let platforms = build.bridge.worker_platforms();
        let pong = caps::pong(build.bridge.worker(), &platforms);
        Ok(Response::new(pong))
    }

    async fn r#return(
        &self,
        request: Request<gateway::ReturnRequest>,
    ) -> Answer<gateway::ReturnResponse> {
        let build = self.find("Return", request.metadata()).await?;
        let answer = build.returned(request.into_inner());
        answer
            .map(Response::new)
            .map_err(|error| build.status(&error))
    }

    async fn inputs(
        &self,
        request: Request<gateway::InputsRequest>,
    ) -> Answer<gateway::InputsResponse> {
        let build = self.find("Inputs", request.metadata()).await?;
        Ok(Response::new(build.inputs()))
    }

    async fn new_container(
        &self,
        request: Request<gateway::NewContainerRequest>,
    ) -> Answer<gateway::NewContainerResponse> {
        forward!(self, "NewContainer", request, new_container)
    }

    async fn release_container(
        &self,
        request: Request<gateway::ReleaseContainerRequest>,
    ) -> Answer<gateway::ReleaseContainerResponse> {
        forward!(self, "ReleaseContainer", request, release_container)
    }

    async fn exec_process(
        &self,
        request: Request<Streaming<gateway::ExecMessage>>,
    ) -> Answer<Self::ExecProcessStream> {
        let build = self.find("ExecProcess", request.metadata()).await?;
        Ok(Response::new(exec::serve(build, request.into_inner())))
    }

    async fn read_file_container(
        &self,
        request: Request<gateway::ReadFileRequest>,
    ) -> Answer<gateway::ReadFileResponse> {
        forward!(self, "ReadFileContainer", request, read_file_container)
    }

    async fn read_dir_container(
        &self,
        request: Request<gateway::ReadDirRequest>,
    ) -> Answer<gateway::ReadDirResponse> {
        forward!(self, "ReadDirContainer", request, read_dir_container)
    }

    async fn stat_file_container(
        &self,
        request: Request<gateway::StatFileRequest>,
    ) -> Answer<gateway::StatFileResponse> {
        forward!(self, "StatFileContainer", request, stat_file_container)
    }

    async fn warn(&self, request: Request<gateway::WarnRequest>) -> Answer<gateway::WarnResponse> {
        let build = self.find("Warn", request.metadata()).await?;
        let answer = build.warn(request.into_inner());
        answer
            .map(Response::new)
            .map_err(|error| build.status(&error))
    }
}
