//! From an address to a connection (row CCL-01).

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use http::uri::Authority;
use hyper_util::rt::TokioIo;
use lamina_session::CONNECTION_WINDOW_BYTES;
use lamina_session::STREAM_WINDOW_BYTES;
use lamina_types::IoContext;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::UnixStream;
use tonic::transport::Certificate;
use tonic::transport::Channel;
use tonic::transport::ClientTlsConfig;
use tonic::transport::Endpoint;
use tonic::transport::Identity;

use crate::ClientError;
use crate::HEADER_BYTES;
use crate::error::innermost;

/// How long a host may take to answer; a socket of this machine answers at once or never.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// Certificates for a `tcp://` address.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Whom to trust.
    pub ca: Option<PathBuf>,
    /// Who we are.
    pub cert: Option<PathBuf>,
    /// The key for it.
    pub key: Option<PathBuf>,
    /// The name in the daemon's certificate, if not the address.
    pub server_name: Option<String>,
}

impl TlsFiles {
    fn is_given(&self) -> bool {
        self.ca.is_some() || self.cert.is_some() || self.key.is_some() || self.server_name.is_some()
    }
}

/// Connects and waits for the connection to stand. Later calls connect anew if it breaks.
pub(crate) async fn connect(address: &str, tls: &TlsFiles) -> Result<Channel, ClientError> {
    let refuse = |reason: &str| ClientError::Address {
        address: address.to_owned(),
        reason: reason.to_owned(),
    };
    let connected = if let Some(path) = address.strip_prefix("unix://") {
        if path.is_empty() {
            return Err(refuse("the path of the socket is missing"));
        }
        if tls.is_given() {
            return Err(refuse("certificates are of use for tcp:// addresses only"));
        }
        unix(PathBuf::from(path)).await
    } else if let Some(authority) = address.strip_prefix("tcp://") {
        let endpoint = tcp_endpoint(authority, tls, refuse)?;
        endpoint.connect().await
    } else {
        return Err(refuse("expected unix://PATH or tcp://HOST:PORT"));
    };
    connected.map_err(|error| ClientError::Unreachable {
        address: address.to_owned(),
        reason: innermost(&error),
    })
}

async fn unix(path: PathBuf) -> Result<Channel, tonic::transport::Error> {
    // The daemon accepts any authority (row NET-03).
    let endpoint = tuned(Endpoint::from_static("http://localhost"));
    let dial = tower::service_fn(move |_: http::Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector(dial).await
}

fn tcp_endpoint(
    authority: &str,
    tls: &TlsFiles,
    refuse: impl Fn(&str) -> ClientError,
) -> Result<Endpoint, ClientError> {
    let parsed: Authority = authority
        .trim_end_matches('/')
        .parse()
        .map_err(|_| refuse("expected tcp://HOST:PORT"))?;
    if parsed.port_u16().is_none() {
        return Err(refuse("the port is missing"));
    }
    let scheme = if tls.is_given() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{parsed}"))
        .map_err(|error| refuse(&innermost(&error)))?;
    let endpoint = tuned(endpoint)
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true);
    if !tls.is_given() {
        return Ok(endpoint);
    }
    let config = tls_config(tls, &refuse)?;
    endpoint
        .tls_config(config)
        .map_err(|error| refuse(&innermost(&error)))
}

/// Connects over a stream that is there already, to `peer` in messages; when it ends, there is no
/// other.
pub(crate) async fn over<S>(stream: S, peer: &str) -> Result<Channel, ClientError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let only = Mutex::new(Some(stream));
    let take = tower::service_fn(move |_: http::Uri| {
        let stream = only.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ended = || io::Error::new(io::ErrorKind::BrokenPipe, "the daemon closed the pipe");
        std::future::ready(stream.map(TokioIo::new).ok_or_else(ended))
    });
    // Nobody looks at the name of the host.
    let endpoint = tuned(Endpoint::from_static("http://localhost"));
    let connected = endpoint.connect_with_connector(take).await;
    connected.map_err(|error| ClientError::Unreachable {
        address: peer.to_owned(),
        reason: innermost(&error),
    })
}

pub(crate) fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES)
}

fn tls_config(
    tls: &TlsFiles,
    refuse: impl Fn(&str) -> ClientError,
) -> Result<ClientTlsConfig, ClientError> {
    let mut config = ClientTlsConfig::new();
    if let Some(ca) = &tls.ca {
        config = config.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => config.identity(Identity::from_pem(read(cert)?, read(key)?)),
        (None, None) => config,
        (Some(_), None) => return Err(refuse("the certificate needs its key")),
        (None, Some(_)) => return Err(refuse("the key needs its certificate")),
    };
    if let Some(name) = &tls.server_name {
        config = config.domain_name(name);
    }
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path)
        .at(path.display())
        .map_err(ClientError::Certificate)
}
