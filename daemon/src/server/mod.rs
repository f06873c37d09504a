//! Serves the services on all listeners until told to stop.
//!
//! Stopping has two steps. [`Server::close`] takes no more connections and lets clients finish what
//! they are at; [`Server::cut`] ends the connections, which cancels the calls on them (row NET-17).
//!
//! No call is refused for the name that its client gives the daemon (row NET-03). But the HTTP/2
//! library parses `:authority` before anything here sees it, and resets a call where that is empty
//! or a percent-encoded path. Stock clients send neither: for a socket they say `localhost`, or
//! nothing.

mod connection;

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::Stream;
use futures_util::StreamExt as _;
use lamina_session::CONNECTION_WINDOW_BYTES;
use lamina_session::STREAM_WINDOW_BYTES;
use lamina_types::CancelToken;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::Certificate;
use tonic::transport::Identity;
use tonic::transport::ServerTlsConfig;
use tonic::transport::server::Router;

use crate::error::DaemonError;
use crate::listen::Bound;
use crate::listen::Listener;
use crate::listen::SocketFile;
use crate::settings::Tls;
use connection::Connection;

/// Calls at once on one connection: a build may wait in many, and one more must still get through.
const MAX_STREAMS: u32 = 100_000;

/// Headers of one call; clients announce their session's services in them.
const MAX_HEADER_BYTES: u32 = 1 << 20;

/// How often a silent client of another machine is asked whether it is there, and how long it may
/// take to say so. A socket of this machine tells by itself.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);

/// After an error such as "too many open files", before the next connection is taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Everything that listens.
pub(crate) struct Server {
    tasks: JoinSet<()>,
    files: Vec<SocketFile>,
    close: CancelToken,
    cut: CancelToken,
}

impl Server {
    /// Begins to serve. Must be called inside the runtime.
    pub(crate) fn start(
        routes: &Routes,
        bound: Vec<Bound>,
        tls: Option<&Tls>,
    ) -> Result<Self, DaemonError> {
        let mut server = Self {
            tasks: JoinSet::new(),
            files: Vec::new(),
            close: CancelToken::new(),
            cut: CancelToken::new(),
        };
        for Bound { address, listener } in bound {
            server.listen(routes.clone(), &address, listener, tls)?;
            tracing::info!("running server on {address}");
        }
        Ok(server)
    }

    fn listen(
        &mut self,
        routes: Routes,
        address: &str,
        listener: Listener,
        tls: Option<&Tls>,
    ) -> Result<(), DaemonError> {
        match listener {
            Listener::Unix(listener, file) => {
                let listener = UnixListener::from_std(listener).map_err(DaemonError::Runtime)?;
                self.files.extend(file);
                let router = builder().add_routes(routes);
                self.serve(router, UnixListenerStream::new(listener));
            }
            Listener::Tcp(listener) => {
                let listener = TcpListener::from_std(listener).map_err(DaemonError::Runtime)?;
                if tls.is_none() {
                    tracing::warn!("TLS is not enabled for {address}: whoever reaches it is root");
                }
                let router = with_tls(remote_builder(), address, tls)?.add_routes(routes);
                let accepted = TcpListenerStream::new(listener);
                self.serve(router, accepted.map(|accepted| accepted.inspect(prompt)));
            }
        }
        Ok(())
    }

    fn serve<S>(
        &mut self,
        router: Router,
        accepted: impl Stream<Item = io::Result<S>> + Send + 'static,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let connections = connections(accepted, self.cut.clone());
        let close = self.close.clone();
        self.tasks.spawn(async move {
            let closed = async move { close.cancelled().await };
            if let Err(error) = router
                .serve_with_incoming_shutdown(connections, closed)
                .await
            {
                tracing::error!(%error, "a listener failed");
            }
        });
    }

    /// Takes no more connections and removes the sockets; who is connected may finish.
    pub(crate) fn close(&mut self) {
        self.close.cancel();
        self.files.clear();
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    /// Waits until no connection is left; to be called after [`Server::close`].
    pub(crate) async fn closed(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

fn builder() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
}

/// As [`builder`], for clients that can vanish without a word.
fn remote_builder() -> tonic::transport::Server {
    builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
}

/// Wraps what was accepted. An error takes a pause and is passed over: it is about one connection,
/// or goes away with time.
fn connections<S>(
    accepted: impl Stream<Item = io::Result<S>> + Send + 'static,
    cut: CancelToken,
) -> impl Stream<Item = io::Result<Connection<S>>> + Send + 'static
where
    S: Send + 'static,
{
    accepted.filter_map(move |accepted| {
        let cut = cut.clone();
        async move {
            match accepted {
                Ok(stream) => Some(Ok(Connection::new(stream, cut))),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    None
                }
            }
        }
    })
}

/// Sends small messages at once, and finds out when the other machine is gone.
fn prompt(stream: &TcpStream) {
    let set = stream
        .set_nodelay(true)
        .and_then(|()| Ok(rustix::net::sockopt::set_socket_keepalive(stream, true)?));
    if let Err(error) = set {
        tracing::debug!(%error, "a connection keeps the usual settings");
    }
}

fn with_tls(
    server: tonic::transport::Server,
    address: &str,
    tls: Option<&Tls>,
) -> Result<tonic::transport::Server, DaemonError> {
    let Some(tls) = tls else {
        return Ok(server);
    };
    let refuse = |reason: String| DaemonError::Tls {
        address: address.to_owned(),
        reason,
    };
    let read = |path: &Path| {
        fs::read(path).map_err(|error| refuse(format!("{}: {error}", path.display())))
    };
    let identity = Identity::from_pem(read(&tls.certificate)?, read(&tls.key)?);
    let mut config = ServerTlsConfig::new().identity(identity);
    if let Some(ca) = &tls.client_ca {
        config = config.client_ca_root(Certificate::from_pem(read(ca)?));
    }
    server
        .tls_config(config)
        .map_err(|error| refuse(tls_reason(&error)))
}

/// The transport's own words say nothing; what lies below does.
fn tls_reason(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}
