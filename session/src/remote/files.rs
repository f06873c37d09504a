//! Directories from and to the client (rows SVC-01, SVC-02, SVC-08).

use http::uri::PathAndQuery;
use lamina_proto::filesync::file_sync_client::FileSyncClient;
use lamina_proto::fsutil::Packet;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use super::MESSAGE_LIMIT;
use super::MESSAGES_AHEAD;
use super::client;
use super::link::Link;
use super::metadata;
use crate::FileReceiver;
use crate::FileSender;
use crate::LocalRequest;
use crate::SessionError;

/// The methods that must be announced, in lower case, and one as clients know it.
pub(super) const SYNC_METHOD: &str = "/moby.filesync.v1.filesync/diffcopy";
pub(super) const SEND_METHOD: &str = "/moby.filesync.v1.filesend/diffcopy";
pub(super) const SEND_METHOD_SHOWN: &str = "/moby.filesync.v1.FileSend/diffcopy";

/// Where results go: bytes or packets, as the client's target is a file or a directory.
pub(super) const SEND_PATH: PathAndQuery =
    PathAndQuery::from_static("/moby.filesync.v1.FileSend/DiffCopy");

/// Says which exporter's result comes.
pub(super) const EXPORTER_KEY: &str = "buildkit-attachable-exporter-id";

/// Says that the results of all platforms come in one transfer. Ours do; a client that deletes what
/// does not come refuses others.
const ONE_TRANSFER_KEY: &str = "buildkit-exporter-multi-platform";

/// Starts to receive a directory of the client.
pub(super) async fn receive(
    link: &Link,
    request: &LocalRequest,
) -> Result<FileReceiver, SessionError> {
    let (sink, packets) = mpsc::channel(MESSAGES_AHEAD);
    let mut call = Request::new(ReceiverStream::new(packets));
    describe(request, call.metadata_mut());
    let mut client = client!(FileSyncClient, link);
    match link.call(client.diff_copy(call)).await? {
        Ok(answer) => {
            let packets = link.messages(answer.into_inner());
            Ok(FileReceiver::new(packets, sink))
        }
        Err(status) if status.code() == Code::NotFound => Err(SessionError::NoSuchDirectory {
            name: request.name.clone(),
        }),
        Err(status) if status.code() == Code::Unimplemented => {
            Err(super::refusal("no local sources enabled"))
        }
        Err(status) => Err(SessionError::from_status(status)),
    }
}

fn describe(request: &LocalRequest, metadata: &mut tonic::metadata::MetadataMap) {
    metadata::append_all(metadata, "include-patterns", &request.includes);
    metadata::append_all(metadata, "exclude-patterns", &request.excludes);
    metadata::append_all(metadata, "followpaths", &request.follow);
    metadata::append_all(metadata, "dir-name", [&request.name]);
}

/// Starts to send a directory to the client. It answers no sooner than it has seen an entry, so a
/// refusal shows when the sender is used.
pub(super) fn send(link: &Link, exporter: usize) -> Result<FileSender, SessionError> {
    let (sink, packets) = mpsc::channel(MESSAGES_AHEAD);
    let mut call = Request::new(ReceiverStream::new(packets));
    metadata::append(call.metadata_mut(), EXPORTER_KEY, &exporter.to_string());
    metadata::append(call.metadata_mut(), ONE_TRANSFER_KEY, "1");
    let answer = link.start(diff_copy(link.channel(), call));
    Ok(FileSender::new(answer, sink))
}

/// The generated method of that path is for bytes.
async fn diff_copy(
    channel: Channel,
    call: Request<ReceiverStream<Packet>>,
) -> Result<Response<Streaming<Packet>>, Status> {
    let mut grpc = Grpc::new(channel)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    grpc.ready()
        .await
        .map_err(|error| Status::from_error(error.into()))?;
    let codec = ProstCodec::<Packet, Packet>::default();
    grpc.streaming(call, SEND_PATH, codec).await
}
