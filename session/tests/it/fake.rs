//! A client of our own making at the other end of a tunnel, to answer as told.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use lamina_session::Session;
use lamina_session::SessionError;
use lamina_session::SessionInfo;
use lamina_session::SessionManager;
use prost::Message;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;
use tonic_prost::ProstCodec;
use tower::Service;

/// What a test is patient for; only a failure takes that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A connected client.
pub(crate) struct Fake {
    pub(crate) runtime: Runtime,
    pub(crate) manager: SessionManager,
    pub(crate) session: Arc<dyn Session>,
    /// Carries the tunnel's bytes; without it both ends are cut off.
    wire: JoinHandle<()>,
    attached: JoinHandle<Result<(), SessionError>>,
}

impl Fake {
    /// Connects a client that offers `services`, and announces those that must be.
    pub(crate) fn start(services: impl FnOnce(&mut RoutesBuilder)) -> Self {
        Self::start_as(info("fake"), services)
    }

    pub(crate) fn start_as(info: SessionInfo, services: impl FnOnce(&mut RoutesBuilder)) -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let manager = SessionManager::default();
        let id = info.id.clone();
        let mut far = runtime.block_on(async { serve(services) });
        let (tunnel, mut near) = tokio::io::duplex(64 << 10);
        let wire = runtime.spawn(async move {
            // An end that was dropped is the end.
            drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
        });
        let attached = runtime.spawn({
            let manager = manager.clone();
            async move { manager.attach(info, Box::new(tunnel)).await }
        });
        let session = runtime
            .block_on(manager.wait(&id, PATIENCE))
            .expect("connected");
        Self {
            runtime,
            manager,
            session,
            wire,
            attached,
        }
    }

    /// Waits for what the session gives, but not for ever.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, future).await })
            .expect("an answer in time")
    }

    /// The client's process dies.
    pub(crate) fn kill(&self) {
        self.wire.abort();
    }

    /// Waits until the daemon has seen the end.
    pub(crate) fn end(self) -> Result<(), SessionError> {
        self.runtime.block_on(self.attached).expect("no panic")
    }
}

pub(crate) fn info(id: &str) -> SessionInfo {
    SessionInfo {
        id: id.to_owned(),
        shared_key: "shared".to_owned(),
        methods: vec![
            "/moby.filesync.v1.FileSync/DiffCopy".to_owned(),
            "/moby.filesync.v1.FileSend/diffcopy".to_owned(),
        ],
        ..SessionInfo::default()
    }
}

/// Serves one connection, whose other end is returned, for as long as the runtime lives.
pub(crate) fn serve(services: impl FnOnce(&mut RoutesBuilder)) -> tokio::io::DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let mut routes = RoutesBuilder::default();
    services(&mut routes);
    let routes = routes.routes();
    tokio::spawn(async move {
        let incoming = futures_util::stream::iter([Ok::<_, std::io::Error>(theirs)]);
        let incoming = incoming.chain(futures_util::stream::pending());
        let server = tonic::transport::Server::builder().add_routes(routes);
        drop(server.serve_with_incoming(incoming).await);
    });
    ours
}

/// Answers of a streaming method.
pub(crate) type Answers<M> = mpsc::Sender<Result<M, Status>>;

type Handler<M> =
    Arc<dyn Fn(MetadataMap, Streaming<M>, Answers<M>) -> BoxFuture<'static, ()> + Send + Sync>;

/// The names of services with one streaming method that matters.
pub(crate) trait Name: Clone + Send + Sync + 'static {
    const NAME: &'static str;
}

#[derive(Clone)]
pub(crate) struct FileSync;
impl Name for FileSync {
    const NAME: &'static str = "moby.filesync.v1.FileSync";
}

#[derive(Clone)]
pub(crate) struct FileSend;
impl Name for FileSend {
    const NAME: &'static str = "moby.filesync.v1.FileSend";
}

#[derive(Clone)]
pub(crate) struct Upload;
impl Name for Upload {
    const NAME: &'static str = "moby.upload.v1.Upload";
}

/// A service that handles its streaming method as Go's servers do: the answer's head is sent with
/// the first message, and a failure before it is the whole answer.
pub(crate) struct Streams<N, M> {
    handler: Handler<M>,
    name: PhantomData<N>,
}

impl<N, M> Clone for Streams<N, M> {
    fn clone(&self) -> Self {
        Self {
            handler: Arc::clone(&self.handler),
            name: PhantomData,
        }
    }
}

impl<N: Name, M> Streams<N, M> {
    pub(crate) fn new<F: Future<Output = ()> + Send + 'static>(
        _: N,
        handler: impl Fn(MetadataMap, Streaming<M>, Answers<M>) -> F + Send + Sync + 'static,
    ) -> Self {
        Self {
            handler: Arc::new(move |metadata, messages, answers| {
                Box::pin(handler(metadata, messages, answers))
            }),
            name: PhantomData,
        }
    }
}

impl<N: Name, M> NamedService for Streams<N, M> {
    const NAME: &'static str = N::NAME;
}

impl<N: Name, M: Message + Default + 'static> Service<http::Request<Body>> for Streams<N, M> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let handler = Arc::clone(&self.handler);
        let method = tower::service_fn(move |request| answer(Arc::clone(&handler), request));
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<M, M>::default());
            Ok(grpc.streaming(method, request).await)
        })
    }
}

type AnswerStream<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

async fn answer<M: Send + 'static>(
    handler: Handler<M>,
    request: Request<Streaming<M>>,
) -> Result<Response<AnswerStream<M>>, Status> {
    let (metadata, _, messages) = request.into_parts();
    let (answers, mut queue) = mpsc::channel(4);
    tokio::spawn(handler(metadata, messages, answers));
    let stream: AnswerStream<M> = match queue.recv().await {
        Some(Err(status)) => return Err(status),
        Some(first) => futures_util::stream::iter([first])
            .chain(ReceiverStream::new(queue))
            .boxed(),
        None => futures_util::stream::empty().boxed(),
    };
    Ok(Response::new(stream))
}
