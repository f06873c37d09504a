//! A daemon that does what a test says: `Solve` runs the test's script, which may call the session
//! of the client back as a real daemon does.

mod blobs;
mod bridge;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use lamina_client::Client;
use lamina_client::TlsFiles;
use lamina_proto::content::content_server::ContentServer;
use lamina_proto::control;
use lamina_proto::control::control_server::Control;
use lamina_proto::control::control_server::ControlServer;
use lamina_proto::gateway;
use lamina_proto::gateway::llb_bridge_server::LlbBridgeServer;
use lamina_proto::worker;
use lamina_session::MessagePipe;
use lamina_types::CancelToken;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::async_trait;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use tonic::transport::Server;

pub(crate) const BLOB: &[u8] = b"a log";

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Script = Arc<
    dyn Fn(control::SolveRequest, Arc<Seen>) -> BoxFuture<'static, Result<(), Status>>
        + Send
        + Sync,
>;

/// What the daemon has seen of its client.
#[derive(Default)]
pub(crate) struct Seen {
    sessions: watch::Sender<HashMap<String, Channel>>,
    pub(crate) session_headers: Mutex<MetadataMap>,
    /// Cancelled when the client has ended its session.
    pub(crate) session_ended: CancelToken,
    /// Cancelled when a Solve call ended before its script did.
    pub(crate) solve_dropped: CancelToken,
    /// Cancelled when a Solve call ended.
    pub(crate) solve_ended: CancelToken,
    pub(crate) returned: watch::Sender<Option<gateway::ReturnRequest>>,
    pub(crate) build_ids: Mutex<Vec<String>>,
    pub(crate) updates: Mutex<Vec<control::UpdateBuildHistoryRequest>>,
}

impl Seen {
    /// Waits for the session of a build, as daemons do (row SES-06).
    pub(crate) async fn session(&self, id: &str) -> Channel {
        let mut sessions = self.sessions.subscribe();
        let known = sessions
            .wait_for(|sessions| sessions.contains_key(id))
            .await;
        known.expect("the daemon lives")[id].clone()
    }

    /// Waits for the client's `Return`.
    pub(crate) async fn result(&self) -> gateway::ReturnRequest {
        let mut returned = self.returned.subscribe();
        let returned = returned.wait_for(Option::is_some).await;
        returned
            .expect("the daemon lives")
            .clone()
            .expect("is some")
    }
}

/// How the daemon behaves beside the script.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manner {
    pub(crate) refuses_sessions: bool,
    pub(crate) never_answers_status: bool,
}

pub(crate) struct Daemon {
    pub(crate) address: String,
    pub(crate) seen: Arc<Seen>,
    _dir: tempfile::TempDir,
    stop: CancelToken,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Daemon {
    /// Starts a daemon whose builds run `script`.
    pub(crate) fn start<F, R>(script: F) -> Self
    where
        F: Fn(control::SolveRequest, Arc<Seen>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Status>> + Send + 'static,
    {
        Self::with_manner(Manner::default(), script)
    }

    pub(crate) fn with_manner<F, R>(manner: Manner, script: F) -> Self
    where
        F: Fn(control::SolveRequest, Arc<Seen>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let dir = tempfile::tempdir().expect("a folder");
        let socket = dir.path().join("daemon.sock");
        let listener = tokio::net::UnixListener::bind(&socket).expect("binds");
        let seen = Arc::new(Seen::default());
        let stop = CancelToken::new();
        let service = Service {
            seen: Arc::clone(&seen),
            script: Arc::new(move |request, seen| Box::pin(script(request, seen))),
            manner,
            stop: stop.clone(),
        };
        let (shutdown, incoming) = (
            stop.clone(),
            tokio_stream::wrappers::UnixListenerStream::new(listener),
        );
        tokio::spawn(async move {
            Server::builder()
                .add_service(ControlServer::new(service.clone()))
                .add_service(LlbBridgeServer::new(service.clone()))
                .add_service(ContentServer::new(service))
                .serve_with_incoming_shutdown(incoming, async move { shutdown.cancelled().await })
                .await
        });
        Self {
            address: format!("unix://{}", socket.display()),
            seen,
            _dir: dir,
            stop,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.address, &TlsFiles::default())
            .await
            .expect("the daemon listens")
    }
}

#[derive(Clone)]
struct Service {
    seen: Arc<Seen>,
    script: Script,
    manner: Manner,
    stop: CancelToken,
}

struct Dropped {
    seen: Arc<Seen>,
    complete: bool,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.seen.solve_ended.cancel();
        if !self.complete {
            self.seen.solve_dropped.cancel();
        }
    }
}

fn stream_of<T: Send + 'static>(items: Vec<T>) -> Answers<T> {
    Box::pin(futures_util::stream::iter(items.into_iter().map(Ok)))
}

/// Opens HTTP/2 over the messages of a Session call.
async fn channel_over(pipe: MessagePipe) -> Channel {
    let mut pipe = Some(pipe);
    let dial = tower::service_fn(move |_: http::Uri| {
        let pipe = pipe.take();
        async move {
            pipe.map(TokioIo::new)
                .ok_or_else(|| std::io::Error::other("there is one connection"))
        }
    });
    let endpoint = Endpoint::from_static("http://session");
    let connected = endpoint.connect_with_connector(dial).await;
    connected.expect("the first bytes go out")
}

#[async_trait]
impl Control for Service {
    async fn disk_usage(
        &self,
        request: Request<control::DiskUsageRequest>,
    ) -> Answer<control::DiskUsageResponse> {
        let filter = request.into_inner().filter.concat();
        let record = control::UsageRecord {
            id: format!("du {filter}"),
            ..Default::default()
        };
        Ok(Response::new(control::DiskUsageResponse {
            record: vec![record],
        }))
    }

    type PruneStream = Answers<control::UsageRecord>;

    async fn prune(&self, _: Request<control::PruneRequest>) -> Answer<Self::PruneStream> {
        let record = |id: &str| control::UsageRecord {
            id: id.to_owned(),
            ..Default::default()
        };
        Ok(Response::new(stream_of(vec![record("a"), record("b")])))
    }

    async fn solve(
        &self,
        request: Request<control::SolveRequest>,
    ) -> Answer<control::SolveResponse> {
        let mut dropped = Dropped {
            seen: Arc::clone(&self.seen),
            complete: false,
        };
        let outcome = (self.script)(request.into_inner(), Arc::clone(&self.seen)).await;
        dropped.complete = true;
        outcome?;
        let response = [("key".to_owned(), "value".to_owned())];
        Ok(Response::new(control::SolveResponse {
            exporter_response: response.into(),
        }))
    }

    type StatusStream = Answers<control::StatusResponse>;

    async fn status(&self, request: Request<control::StatusRequest>) -> Answer<Self::StatusStream> {
        if self.manner.never_answers_status {
            self.stop.cancelled().await;
            return Err(Status::unavailable("the daemon stops"));
        }
        let event = |name: String| {
            Ok(control::StatusResponse {
                vertexes: vec![control::Vertex {
                    name,
                    ..Default::default()
                }],
                ..Default::default()
            })
        };
        let (ended, id) = (self.seen.solve_ended.clone(), request.into_inner().r#ref);
        let first = futures_util::stream::once(async move { event(id) });
        let last = futures_util::stream::once(async move {
            ended.cancelled().await;
            event("last".to_owned())
        });
        Ok(Response::new(Box::pin(first.chain(last))))
    }

    type SessionStream = Answers<control::BytesMessage>;

    async fn session(
        &self,
        request: Request<Streaming<control::BytesMessage>>,
    ) -> Answer<Self::SessionStream> {
        if self.manner.refuses_sessions {
            return Err(Status::permission_denied("no sessions here"));
        }
        let headers = request.metadata().clone();
        let id = headers.get("x-docker-expose-session-uuid");
        let id = id
            .and_then(|id| id.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        *self.seen.session_headers.lock().expect("not poisoned") = headers;
        let ended = self.seen.session_ended.clone();
        let incoming = request
            .into_inner()
            .map(|message| message.map(|message| message.data))
            .chain(futures_util::stream::once(async move {
                ended.cancel();
                Ok(Bytes::new())
            }));
        let (outgoing, messages) = mpsc::channel(8);
        let channel = channel_over(MessagePipe::new(incoming, outgoing)).await;
        self.seen.sessions.send_modify(|sessions| {
            sessions.insert(id, channel);
        });
        let messages = ReceiverStream::new(messages).map(|data| Ok(control::BytesMessage { data }));
        Ok(Response::new(Box::pin(messages)))
    }

    async fn list_workers(
        &self,
        request: Request<control::ListWorkersRequest>,
    ) -> Answer<control::ListWorkersResponse> {
        if request.into_inner().filter == ["bad"] {
            return Err(Status::invalid_argument("bad filter"));
        }
        Ok(Response::new(control::ListWorkersResponse {
            record: vec![worker::WorkerRecord {
                id: "w".to_owned(),
                ..Default::default()
            }],
        }))
    }

    async fn info(&self, _: Request<control::InfoRequest>) -> Answer<control::InfoResponse> {
        let version = worker::BuildkitVersion {
            version: "v1.2.3".to_owned(),
            ..Default::default()
        };
        Ok(Response::new(control::InfoResponse {
            buildkit_version: Some(version),
        }))
    }

    type ListenBuildHistoryStream = Answers<control::BuildHistoryEvent>;

    async fn listen_build_history(
        &self,
        _: Request<control::BuildHistoryRequest>,
    ) -> Answer<Self::ListenBuildHistoryStream> {
        Ok(Response::new(stream_of(vec![
            control::BuildHistoryEvent::default(),
        ])))
    }

    async fn update_build_history(
        &self,
        request: Request<control::UpdateBuildHistoryRequest>,
    ) -> Answer<control::UpdateBuildHistoryResponse> {
        let mut updates = self.seen.updates.lock().expect("not poisoned");
        updates.push(request.into_inner());
        Ok(Response::new(control::UpdateBuildHistoryResponse {}))
    }
}

/// Serves `session` to a daemon whose build is `script`, and returns how the build ended.
pub(crate) async fn with_session<F, R>(
    request: lamina_client::BuildRequest,
    script: F,
) -> Result<(), lamina_client::ClientError>
where
    F: FnOnce(Channel, Arc<Seen>) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let script = Arc::new(Mutex::new(Some(script)));
    let (done, mut finished) = mpsc::unbounded_channel::<()>();
    let daemon = Daemon::start(move |request: control::SolveRequest, seen: Arc<Seen>| {
        let script = script.lock().expect("not poisoned").take();
        let done = done.clone();
        async move {
            let channel = seen.session(&request.session).await;
            script.expect("one build")(channel, seen).await;
            done.send(()).expect("the test waits");
            Ok(())
        }
    });
    let client = daemon.client().await;
    let (events, _kept) = mpsc::unbounded_channel();
    let outcome = client.solve(request, events, &CancelToken::new()).await;
    finished.try_recv().expect("the script came to its end");
    outcome.map(drop)
}

fn later<T>() -> Answer<T> {
    Err(Status::unimplemented("not in this daemon"))
}
