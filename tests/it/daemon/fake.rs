//! A client whose session answers as told.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use lamina_proto::filesync::CredentialsRequest;
use lamina_proto::filesync::CredentialsResponse;
use lamina_proto::filesync::FetchTokenRequest;
use lamina_proto::filesync::FetchTokenResponse;
use lamina_proto::filesync::GetTokenAuthorityRequest;
use lamina_proto::filesync::GetTokenAuthorityResponse;
use lamina_proto::filesync::VerifyTokenAuthorityRequest;
use lamina_proto::filesync::VerifyTokenAuthorityResponse;
use lamina_proto::filesync::auth_server::Auth;
use lamina_proto::filesync::auth_server::AuthServer;
use lamina_proto::filesync::file_sync_server::FileSync;
use lamina_proto::filesync::file_sync_server::FileSyncServer;
use lamina_proto::fsutil::Packet;
use lamina_proto::fsutil::Stat;
use lamina_proto::fsutil::packet::PacketType;
use lamina_proto::secrets::GetSecretRequest;
use lamina_proto::secrets::GetSecretResponse;
use lamina_proto::secrets::secrets_server::Secrets;
use lamina_proto::secrets::secrets_server::SecretsServer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::service::Routes;

/// A directory, in the types of Go's file modes that the protocol has.
pub(super) const DIRECTORY: u32 = 1 << 31;
pub(super) const SYMLINK: u32 = 1 << 27;

/// What a client says of its directory.
pub(super) type Listing = Arc<dyn Fn() -> Box<dyn Iterator<Item = Packet> + Send> + Send + Sync>;

/// A session that answers as told.
#[derive(Clone)]
pub(super) struct Fake {
    pub(super) listing: Listing,
    /// The data of a file that is asked for.
    pub(super) data: fn(u32) -> Vec<Packet>,
    pub(super) secret_bytes: usize,
}

impl Fake {
    /// Sends these packets whatever is asked, and then the data of what is asked for.
    pub(super) fn sending(packets: Vec<Packet>) -> Self {
        let listing = move || Box::new(packets.clone().into_iter()) as Box<_>;
        Self {
            listing: Arc::new(listing),
            data: |id| vec![data(id, b"12345"), data(id, b"")],
            secret_bytes: 0,
        }
    }

    /// Has a directory with one file.
    pub(super) fn honest() -> Self {
        Self::sending(vec![file("f", 5), end()])
    }

    pub(super) fn routes(self) -> Routes {
        Routes::new(FileSyncServer::new(self.clone()))
            .add_service(SecretsServer::new(self.clone()).max_encoding_message_size(usize::MAX))
            .add_service(AuthServer::new(self))
            .add_service(tonic_health::server::health_reporter().1)
    }
}

pub(super) fn packet(kind: PacketType) -> Packet {
    Packet {
        r#type: kind.into(),
        ..Packet::default()
    }
}

pub(super) fn entry(path: &str, mode: u32, size: i64, linkname: &str) -> Packet {
    Packet {
        stat: Some(Stat {
            path: path.to_owned(),
            mode: mode | 0o755,
            size,
            linkname: linkname.to_owned(),
            ..Stat::default()
        }),
        ..packet(PacketType::PacketStat)
    }
}

pub(super) fn file(path: &str, size: i64) -> Packet {
    entry(path, 0, size, "")
}

pub(super) fn end() -> Packet {
    packet(PacketType::PacketStat)
}

pub(super) fn data(id: u32, bytes: &'static [u8]) -> Packet {
    Packet {
        id,
        data: Bytes::from_static(bytes),
        ..packet(PacketType::PacketData)
    }
}

type Packets = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

#[tonic::async_trait]
impl FileSync for Fake {
    type DiffCopyStream = Packets;
    type TarStreamStream = Packets;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Packets>, Status> {
        let fake = self.clone();
        let (sink, packets) = mpsc::channel(16);
        tokio::spawn(async move {
            for packet in (fake.listing)() {
                if sink.send(Ok(packet)).await.is_err() {
                    return;
                }
            }
            let mut requests = request.into_inner();
            while let Ok(Some(request)) = requests.message().await {
                let answers = match PacketType::try_from(request.r#type) {
                    Ok(PacketType::PacketReq) => (fake.data)(request.id),
                    Ok(PacketType::PacketFin) => vec![packet(PacketType::PacketFin)],
                    _ => return,
                };
                for answer in answers {
                    if sink.send(Ok(answer)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(packets))))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        Err(Status::unimplemented("never used"))
    }
}

#[tonic::async_trait]
impl Secrets for Fake {
    async fn get_secret(
        &self,
        _: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let data = vec![b'x'; self.secret_bytes];
        Ok(Response::new(GetSecretResponse { data }))
    }
}

/// Never answers.
#[tonic::async_trait]
impl Auth for Fake {
    async fn credentials(
        &self,
        _: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        std::future::pending().await
    }

    async fn fetch_token(
        &self,
        _: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        std::future::pending().await
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        std::future::pending().await
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        std::future::pending().await
    }
}
