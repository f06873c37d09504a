//! The gateway of the daemon: notes which build each call names.

use lamina_proto::gateway;
use lamina_proto::gateway::llb_bridge_server::LlbBridge;
use tonic::Request;
use tonic::Response;
use tonic::Streaming;
use tonic::async_trait;

use super::Answer;
use super::Answers;
use super::Service;
use super::later;

impl Service {
    fn note<T>(&self, request: &Request<T>) {
        let ids = request.metadata().get_all("buildkit-controlapi-buildid");
        let ids = ids.iter().map(|id| id.to_str().expect("ASCII").to_owned());
        self.seen
            .build_ids
            .lock()
            .expect("not poisoned")
            .extend(ids);
    }
}

#[async_trait]
impl LlbBridge for Service {
    async fn ping(&self, request: Request<gateway::PingRequest>) -> Answer<gateway::PongResponse> {
        self.note(&request);
        Ok(Response::new(Default::default()))
    }

    async fn solve(
        &self,
        request: Request<gateway::SolveRequest>,
    ) -> Answer<gateway::SolveResponse> {
        self.note(&request);
        let request = request.into_inner();
        assert!(request.allow_result_return && request.allow_result_array_ref);
        Ok(Response::new(gateway::SolveResponse {
            r#ref: "old".to_owned(),
            result: None,
        }))
    }

    async fn read_file(
        &self,
        request: Request<gateway::ReadFileRequest>,
    ) -> Answer<gateway::ReadFileResponse> {
        self.note(&request);
        let data = request.into_inner().file_path.into_bytes();
        Ok(Response::new(gateway::ReadFileResponse { data }))
    }

    async fn stat_file(
        &self,
        request: Request<gateway::StatFileRequest>,
    ) -> Answer<gateway::StatFileResponse> {
        self.note(&request);
        Ok(Response::new(Default::default()))
    }

    async fn r#return(
        &self,
        request: Request<gateway::ReturnRequest>,
    ) -> Answer<gateway::ReturnResponse> {
        self.note(&request);
        self.seen.returned.send_replace(Some(request.into_inner()));
        Ok(Response::new(Default::default()))
    }

    async fn read_dir(
        &self,
        _: Request<gateway::ReadDirRequest>,
    ) -> Answer<gateway::ReadDirResponse> {
        later()
    }

    async fn evaluate(
        &self,
        _: Request<gateway::EvaluateRequest>,
    ) -> Answer<gateway::EvaluateResponse> {
        later()
    }

    async fn inputs(&self, _: Request<gateway::InputsRequest>) -> Answer<gateway::InputsResponse> {
        later()
    }

    async fn warn(&self, _: Request<gateway::WarnRequest>) -> Answer<gateway::WarnResponse> {
        later()
    }

    async fn resolve_image_config(
        &self,
        _: Request<gateway::ResolveImageConfigRequest>,
    ) -> Answer<gateway::ResolveImageConfigResponse> {
        later()
    }

    async fn resolve_source_meta(
        &self,
        _: Request<gateway::ResolveSourceMetaRequest>,
    ) -> Answer<gateway::ResolveSourceMetaResponse> {
        later()
    }

    async fn new_container(
        &self,
        _: Request<gateway::NewContainerRequest>,
    ) -> Answer<gateway::NewContainerResponse> {
        later()
    }

    async fn release_container(
        &self,
        _: Request<gateway::ReleaseContainerRequest>,
    ) -> Answer<gateway::ReleaseContainerResponse> {
        later()
    }

    type ExecProcessStream = Answers<gateway::ExecMessage>;

    async fn exec_process(
        &self,
        _: Request<Streaming<gateway::ExecMessage>>,
    ) -> Answer<Self::ExecProcessStream> {
        later()
    }

    async fn read_file_container(
        &self,
        _: Request<gateway::ReadFileRequest>,
    ) -> Answer<gateway::ReadFileResponse> {
        later()
    }

    async fn read_dir_container(
        &self,
        _: Request<gateway::ReadDirRequest>,
    ) -> Answer<gateway::ReadDirResponse> {
        later()
    }

    async fn stat_file_container(
        &self,
        _: Request<gateway::StatFileRequest>,
    ) -> Answer<gateway::StatFileResponse> {
        later()
    }
}
