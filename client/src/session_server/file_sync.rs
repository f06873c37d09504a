//! Directories of this host for local sources (rows SVC-01 to SVC-06).

use std::pin::Pin;

use futures_util::Stream;
use futures_util::StreamExt as _;
use lamina_proto::filesync::file_sync_server::FileSync;
use lamina_proto::fsutil::Packet;
use lamina_session::FileSender;
use lamina_session::LocalFiles;
use lamina_session::LocalRequest;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::async_trait;
use tonic::metadata::MetadataMap;

use super::error::ServeError;
use super::error::status;
use super::metadata;
use super::offer::Offer;
use super::sending;

/// Packets on their way: about 2 MiB of data.
pub(super) const PACKET_QUEUE: usize = 64;

/// Packets for the daemon, and at their end why there are no more.
pub(super) type Packets = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

#[async_trait]
impl FileSync for Offer {
    type DiffCopyStream = Packets;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Packets>, Status> {
        let wanted = local_request(request.metadata());
        let files = self.session.local_files(&wanted).await.map_err(status)?;
        let LocalFiles::Host { path, owner } = files else {
            let text = format!("{}: only directories of this host are served", wanted.name);
            return Err(Status::failed_precondition(text));
        };
        let listing = sending::list(self, path, owner, wanted).await?;
        let (sink, outgoing) = mpsc::channel(PACKET_QUEUE);
        let sender = FileSender::new(Box::pin(request.into_inner()), sink);
        let offer = self.clone();
        let (ended, outcome) = oneshot::channel();
        tokio::spawn(async move { sending::send(&offer, listing, sender, ended).await });
        Ok(Response::new(packets(outgoing, outcome)))
    }

    type TarStreamStream = Packets;

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        Err(Status::unimplemented("directories are sent by DiffCopy"))
    }
}

/// Joins the packets and the error that may end them.
pub(super) fn packets(
    outgoing: mpsc::Receiver<Packet>,
    outcome: oneshot::Receiver<Result<(), ServeError>>,
) -> Packets {
    let end = futures_util::stream::once(outcome).filter_map(async |outcome| match outcome {
        Ok(Err(error)) => Some(Err(error.into())),
        _ => None,
    });
    Box::pin(ReceiverStream::new(outgoing).map(Ok).chain(end))
}

fn local_request(metadata: &MetadataMap) -> LocalRequest {
    LocalRequest {
        name: metadata::first(metadata, "dir-name"),
        includes: metadata::all(metadata, "include-patterns"),
        excludes: metadata::all(metadata, "exclude-patterns"),
        follow: metadata::all(metadata, "followpaths"),
    }
}
