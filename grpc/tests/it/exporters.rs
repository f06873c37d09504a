//! Exporters that the client adds when it knows the result (rows CSOL-18, SVC-18).

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt as _;
use futures_util::stream;
use lamina_proto::control;
use lamina_proto::exporter;
use lamina_proto::exporter::exporter_server::Exporter;
use lamina_proto::exporter::exporter_server::ExporterServer;
use lamina_proto::filesync::BytesMessage;
use lamina_proto::filesync::file_send_server::FileSend;
use lamina_proto::filesync::file_send_server::FileSendServer;
use lamina_proto::gateway;
use lamina_proto::gateway::llb_bridge_client::LlbBridgeClient;
use lamina_proto::gateway::result;
use lamina_session::MessagePipe;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::transport::Server;

use crate::block_on;
use crate::daemon::Daemon;
use crate::daemon::daemon;
use crate::driven::call;
use crate::driven::driven;
use crate::driven::solve;
use crate::harness::Outcome;

/// A client that adds exporters to the build `id`.
#[derive(Clone)]
struct Chooser {
    id: &'static str,
    bridge: LlbBridgeClient<Channel>,
    /// What it answers: the exporters that it adds, or why it does not.
    chosen: Result<Vec<&'static str>, Status>,
    finalized: Result<(), Status>,
    seen: Arc<Mutex<Seen>>,
}

/// What the client was asked and given.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    /// What it read through the references that it was told.
    files: Vec<Vec<u8>>,
    metadata: BTreeMap<String, Vec<u8>>,
    archive: Vec<u8>,
    response: Option<BTreeMap<String, String>>,
}

impl Chooser {
    async fn new(daemon: &Daemon, id: &'static str) -> Self {
        Self {
            id,
            bridge: LlbBridgeClient::new(daemon.connect().await),
            chosen: Ok(Vec::new()),
            finalized: Ok(()),
            seen: Arc::default(),
        }
    }

    fn see(&self, see: impl FnOnce(&mut Seen)) {
        see(&mut self.seen.lock().expect("unpoisoned"));
    }

    fn seen(&self) -> Seen {
        self.seen.lock().expect("unpoisoned").clone()
    }

    fn routes(&self) -> Routes {
        Routes::new(ExporterServer::new(self.clone()))
            .add_service(FileSendServer::new(self.clone()))
            .add_service(tonic_health::server::health_reporter().1)
    }

    /// Drives a build of one file, whose session offers `services`.
    async fn build(
        &self,
        daemon: &Daemon,
        services: Routes,
        is_asked: bool,
    ) -> Result<BTreeMap<String, String>, Status> {
        let session = attach(daemon.connect().await, self.id, services).await;
        let session = tokio::spawn(session);
        let mut control = daemon.control().await;
        let request = control::SolveRequest {
            session: self.id.to_owned(),
            enable_session_exporter: is_asked,
            ..driven(self.id)
        };
        let building = tokio::spawn(async move { control.solve(request).await });
        let mut bridge = self.bridge.clone();
        let id = solve(&mut bridge, self.id, b"data").await;
        let result = gateway::Result {
            result: Some(result::Result::Ref(gateway::Ref { id, def: None })),
            metadata: [("frontend.key".to_owned(), b"value".to_vec())].into(),
            ..gateway::Result::default()
        };
        let result = gateway::ReturnRequest {
            result: Some(result),
            error: None,
        };
        bridge.r#return(call(self.id, result)).await.expect("taken");
        let built = building.await.expect("no panic");
        session.abort();
        built.map(|answer| answer.into_inner().exporter_response)
    }
}

#[tonic::async_trait]
impl Exporter for Chooser {
    async fn find_exporters(
        &self,
        request: Request<exporter::FindExportersRequest>,
    ) -> Result<Response<exporter::FindExportersResponse>, Status> {
        let request = request.into_inner();
        for reference in request.refs {
            let read = gateway::ReadFileRequest {
                r#ref: reference,
                file_path: "f".to_owned(),
                ..gateway::ReadFileRequest::default()
            };
            let file = self.bridge.clone().read_file(call(self.id, read)).await?;
            self.see(|seen| seen.files.push(file.into_inner().data));
        }
        self.see(|seen| seen.metadata = request.metadata);
        let exporter = |kind: &'static str| exporter::ExporterRequest {
            r#type: kind.to_owned(),
            attrs: BTreeMap::new(),
        };
        let exporters = self.chosen.clone()?.into_iter().map(exporter).collect();
        Ok(Response::new(exporter::FindExportersResponse { exporters }))
    }

    async fn finalize_export(
        &self,
        request: Request<exporter::FinalizeExportRequest>,
    ) -> Result<Response<exporter::FinalizeExportResponse>, Status> {
        let response = request.into_inner().exporter_response;
        self.see(|seen| seen.response = Some(response));
        self.finalized.clone()?;
        Ok(Response::new(exporter::FinalizeExportResponse {}))
    }
}

#[tonic::async_trait]
impl FileSend for Chooser {
    type DiffCopyStream = Pin<Box<dyn Stream<Item = Result<BytesMessage, Status>> + Send>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            self.see(|seen| seen.archive.extend_from_slice(&message.data));
        }
        Ok(Response::new(Box::pin(stream::empty())))
    }
}

/// Offers a session with these services, until the returned future is dropped or the daemon ends
/// it.
async fn attach(
    channel: Channel,
    id: &str,
    services: Routes,
) -> impl Future<Output = ()> + Send + 'static {
    let (outgoing, messages) = mpsc::channel::<Bytes>(16);
    let messages = ReceiverStream::new(messages).map(|data| control::BytesMessage { data });
    let mut call = Request::new(messages);
    let id = id.parse().expect("a header");
    let method = "/moby.filesync.v1.FileSend/DiffCopy";
    let method = method.parse().expect("a header");
    let headers = call.metadata_mut();
    headers.insert("x-docker-expose-session-uuid", id);
    headers.insert("x-docker-expose-session-grpc-method", method);
    let mut control = control::control_client::ControlClient::new(channel);
    let answer = control.session(call).await;
    let incoming = answer.expect("the session is taken").into_inner();
    let incoming = incoming.map(|message| message.map(|message| message.data));
    let tunnel = MessagePipe::new(incoming, outgoing);
    let connection = stream::iter([Ok::<_, io::Error>(tunnel)]).chain(stream::pending());
    async move {
        let server = Server::builder().add_routes(services);
        drop(server.serve_with_incoming(connection).await);
    }
}

/// The client reads the result that it is told of, adds an exporter, and hears what came of it.
pub(crate) fn clients_add_exporters_to_what_they_know() -> Outcome {
    block_on(async {
        let daemon = daemon!();
        let chooser = Chooser {
            chosen: Ok(vec!["tar"]),
            ..Chooser::new(&daemon, "chooses").await
        };
        let built = chooser.build(&daemon, chooser.routes(), true).await;
        let response = built.expect("built");
        let seen = chooser.seen();
        assert_eq!(seen.files, [b"data"]);
        assert_eq!(seen.metadata["frontend.key"], b"value");
        let mut blocks = seen.archive.chunks(512);
        assert!(blocks.any(|block| block.starts_with(b"f\0")), "no f");
        assert_eq!(response["frontend.key"], "value");
        assert_eq!(seen.response, Some(response));
        Outcome::Passed
    })
}

/// An answer that means "none" is no failure, and any other is.
pub(crate) fn clients_may_have_no_exporters() -> Outcome {
    block_on(async {
        let daemon = daemon!();
        let unavailable = || Status::unavailable("no callback");
        let unimplemented = || Status::unimplemented("no callback");
        let broken = || Status::unknown("the callback failed");
        for (id, chosen, finalized, expected) in [
            ("unavailable", Err(unavailable()), Ok(()), None),
            ("unimplemented", Err(unimplemented()), Ok(()), None),
            ("fails", Err(broken()), Ok(()), Some("the callback failed")),
            ("not told", Ok(vec![]), Err(unavailable()), None),
            (
                "no",
                Ok(vec!["x"]),
                Ok(()),
                Some("exporter \"x\" could not be found"),
            ),
            (
                "refuses",
                Ok(vec![]),
                Err(broken()),
                Some("the callback failed"),
            ),
        ] {
            let chooser = Chooser {
                chosen,
                finalized,
                ..Chooser::new(&daemon, id).await
            };
            let built = chooser.build(&daemon, chooser.routes(), true).await;
            let message = built.err().map(|status| status.message().to_owned());
            assert_eq!(message.as_deref(), expected, "{id}");
        }
        Outcome::Passed
    })
}

/// Clients without the service, and those that did not ask for it.
pub(crate) fn only_those_who_want_it_are_asked() -> Outcome {
    block_on(async {
        let daemon = daemon!();
        let chooser = Chooser {
            chosen: Err(Status::unknown("asked")),
            ..Chooser::new(&daemon, "quiet").await
        };
        let built = chooser.build(&daemon, chooser.routes(), false).await;
        built.expect("not asked");
        assert_eq!(chooser.seen(), Seen::default());
        let chooser = Chooser::new(&daemon, "without").await;
        let health = Routes::new(tonic_health::server::health_reporter().1);
        chooser.build(&daemon, health, true).await.expect("none");
        Outcome::Passed
    })
}
