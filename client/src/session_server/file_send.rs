//! Results for this host (rows SVC-08, SVC-09): one file, or a directory.
//!
//! Both come by the same method with different messages, and nothing in the call says which: it
//! depends on what the session offers to the exporter. So this service looks first and decodes then.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::path::PathBuf;
use std::task::Context;
use std::task::Poll;

use bytes::BytesMut;
use futures_util::future::BoxFuture;
use lamina_proto::filesync::BytesMessage;
use lamina_proto::fsutil::Packet;
use lamina_session::DirectoryTarget;
use lamina_session::FileReceiver;
use lamina_session::FileTarget;
use lamina_session::SessionError;
use lamina_types::IoContext;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::Grpc;
use tonic::server::NamedService;
use tonic_prost::ProstCodec;

use crate::MESSAGE_BYTES;

use super::error::ServeError;
use super::error::status;
use super::file_sync::PACKET_QUEUE;
use super::file_sync::Packets;
use super::file_sync::packets;
use super::metadata;
use super::offer::Offer;
use super::receive;

/// Says which exporter it is; the first if it is missing.
const EXPORTER_KEY: &str = "buildkit-attachable-exporter-id";

/// Says that the whole result comes in one transfer, so that all else may go.
const WHOLE_RESULT_KEY: &str = "buildkit-exporter-multi-platform";

/// What exporters report, each key a header.
const RESPONSE_PREFIX: &str = "exporter-md-";

/// Data that is collected before a thread writes it.
const WRITE_BYTES: usize = 1 << 20;

/// Receives results.
#[derive(Clone)]
pub(super) struct FileSend(Offer);

/// Where a result goes.
enum Target {
    File(Box<dyn FileTarget>),
    Directory { path: PathBuf, mirror: bool },
}

impl FileSend {
    pub(super) fn new(offer: Offer) -> Self {
        Self(offer)
    }
}

impl NamedService for FileSend {
    const NAME: &'static str = "moby.filesync.v1.FileSend";
}

impl tower::Service<http::Request<Body>> for FileSend {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let offer = self.0.clone();
        Box::pin(async move {
            if !request
                .uri()
                .path()
                .eq_ignore_ascii_case("/moby.filesync.v1.FileSend/DiffCopy")
            {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let metadata = MetadataMap::from_headers(request.headers().clone());
            Ok(match target(&offer, &metadata).await {
                Ok(Target::File(target)) => file(offer, target, request).await,
                Ok(Target::Directory { path, mirror }) => {
                    directory(offer, path, mirror, request).await
                }
                Err(status) => status.into_http(),
            })
        })
    }
}

/// Returns which exporter is meant; a wrong one would write into the place of another.
fn exporter(metadata: &MetadataMap) -> Result<usize, Status> {
    let text = metadata::first(metadata, EXPORTER_KEY);
    if text.is_empty() {
        return Ok(0);
    }
    let invalid = |_| Status::invalid_argument(format!("invalid exporter id {text:?}"));
    text.parse().map_err(invalid)
}

/// Finds out what the session offers to the exporter.
async fn target(offer: &Offer, metadata: &MetadataMap) -> Result<Target, Status> {
    let exporter = exporter(metadata)?;
    let whole = metadata::first(metadata, WHOLE_RESULT_KEY) == "1";
    let mirror = offer.mirrored.contains(&exporter);
    match offer.session.directory_target(exporter, whole).await {
        Ok(DirectoryTarget::Host(_)) if mirror && !whole => Err(Status::failed_precondition(
            "local exporter mode=delete requires a daemon that sends all platforms in one transfer",
        )),
        Ok(DirectoryTarget::Host(path)) => Ok(Target::Directory { path, mirror }),
        Ok(DirectoryTarget::Remote(_)) => Err(Status::failed_precondition(
            "only directories of this host receive results",
        )),
        Err(SessionError::WrongTarget { .. }) => {
            let response: BTreeMap<_, _> = metadata::with_prefix(metadata, RESPONSE_PREFIX);
            let target = offer.session.file_target(exporter, &response).await;
            target.map(Target::File).map_err(status)
        }
        Err(error) => Err(status(error)),
    }
}

/// Writes what comes into a file; the answer is empty, and its end says that all is there.
async fn file(
    offer: Offer,
    target: Box<dyn FileTarget>,
    request: http::Request<Body>,
) -> http::Response<Body> {
    let mut target = Some(target);
    let service = tower::service_fn(move |request: Request<Streaming<BytesMessage>>| {
        let (offer, target) = (offer.clone(), target.take());
        async move {
            let Some(target) = target else {
                return Err(Status::internal("the target is taken already"));
            };
            write_file(&offer, target, request.into_inner()).await?;
            Ok(Response::new(futures_util::stream::empty::<
                Result<BytesMessage, Status>,
            >()))
        }
    });
    grpc::<BytesMessage>().streaming(service, request).await
}

async fn write_file(
    offer: &Offer,
    mut target: Box<dyn FileTarget>,
    mut messages: Streaming<BytesMessage>,
) -> Result<(), ServeError> {
    let mut data = BytesMut::new();
    loop {
        let message = messages.message().await?;
        let complete = message.is_none();
        data.extend_from_slice(&message.unwrap_or_default().data);
        if complete || data.len() >= WRITE_BYTES {
            let piece = data.split().freeze();
            target = offer
                .run(move |_| {
                    target.write_all(&piece).at("the output file")?;
                    Ok(target)
                })
                .await?;
        }
        if complete {
            return offer.run(move |_| Ok(target.finish()?)).await;
        }
    }
}

/// Writes what comes into a directory.
async fn directory(
    offer: Offer,
    path: PathBuf,
    mirror: bool,
    request: http::Request<Body>,
) -> http::Response<Body> {
    let service = tower::service_fn(move |request: Request<Streaming<Packet>>| {
        let (offer, path) = (offer.clone(), path.clone());
        async move {
            let (sink, outgoing) = mpsc::channel(PACKET_QUEUE);
            let receiver = FileReceiver::new(Box::pin(request.into_inner()), sink);
            let (ended, outcome) = oneshot::channel();
            tokio::spawn(async move {
                receive::receive(&offer, receiver, path, mirror, ended).await;
            });
            Ok::<Response<Packets>, Status>(Response::new(packets(outgoing, outcome)))
        }
    });
    grpc::<Packet>().streaming(service, request).await
}

fn grpc<M>() -> Grpc<ProstCodec<M, M>>
where
    M: prost::Message + Default + 'static,
{
    Grpc::new(ProstCodec::default())
        .apply_max_message_size_config(Some(MESSAGE_BYTES), Some(MESSAGE_BYTES))
}
