//! The services on a unix socket, as a daemon has them.

use std::path::PathBuf;
use std::sync::Arc;

use lamina_engine::Engine;
use lamina_engine::EngineOptions;
use lamina_engine::OpenError;
use lamina_engine::Version;
use lamina_frontend::DockerfileFrontend;
use lamina_frontend::GatewayFrontend;
use lamina_grpc::EngineSlot;
use lamina_grpc::PipeServer;
use lamina_grpc::ServerOptions;
use lamina_grpc::routes;
use lamina_llb::Frontend;
use lamina_proto::control::control_client::ControlClient;
use lamina_session::SessionManager;
use lamina_snapshotter::SnapshotError;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Channel;
use tonic::transport::Server;

use crate::wire;

/// A daemon without its process.
pub(crate) struct Daemon {
    pub(crate) slot: EngineSlot,
    sessions: SessionManager,
    dir: TempDir,
    _stop: oneshot::Sender<()>,
    _serving: JoinHandle<()>,
}

impl Daemon {
    /// Listens; the engine is still to come.
    pub(crate) fn listen() -> Self {
        let dir = temporary();
        let listener = UnixListener::bind(dir.path().join("socket")).expect("a socket");
        let slot = EngineSlot::default();
        let sessions = SessionManager::default();
        let routes = routes(ServerOptions {
            engine: slot.clone(),
            sessions: sessions.clone(),
            version: Version {
                package: "lamina".to_owned(),
                version: "v1.2.3".to_owned(),
                revision: "abc".to_owned(),
                dockerfile: "1.26.0".to_owned(),
            },
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let connections = UnixListenerStream::new(listener);
            let stopped = async { drop(stopped.await) };
            let server = Server::builder();
            let served = server.serve_with_incoming_shutdown(routes, connections, stopped);
            served.await.expect("served");
        });
        Self {
            slot,
            sessions,
            dir,
            _stop: stop,
            _serving: serving,
        }
    }

    /// Opens the engine; `Err` = what this machine lacks for one.
    pub(crate) async fn open(&self) -> Result<(), String> {
        let gateway = GatewayFrontend::new(Arc::new(PipeServer));
        let dir = self.dir.path();
        let options = EngineOptions {
            program: PathBuf::from("/proc/self/exe"),
            sessions: self.sessions.clone(),
            frontends: [
                (
                    "dockerfile.v0".to_owned(),
                    Arc::new(DockerfileFrontend) as Arc<dyn Frontend>,
                ),
                (
                    "gateway.v0".to_owned(),
                    Arc::new(gateway) as Arc<dyn Frontend>,
                ),
            ]
            .into(),
            ..EngineOptions::new(dir.join("root"), dir.join("run"))
        };
        match Engine::open(options).await {
            Ok(engine) => self.slot.fill(Ok(engine)),
            Err(OpenError::Snapshots(lack @ SnapshotError::Unavailable { .. })) => {
                return Err(lack.to_string());
            }
            Err(error) => panic!("the engine does not open: {error}"),
        }
        Ok(())
    }

    /// Returns where it listens.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.dir.path().join("socket").display())
    }

    /// Connects once more.
    pub(crate) async fn connect(&self) -> Channel {
        let stream = UnixStream::connect(self.dir.path().join("socket")).await;
        wire::channel(stream.expect("a connection")).await
    }

    /// Connects to Control.
    pub(crate) async fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.connect().await)
    }
}

/// A temporary folder, best in memory.
fn temporary() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let place = match memory.is_dir() {
        true => memory,
        false => std::env::temp_dir(),
    };
    let builder = tempfile::Builder::new()
        .prefix("lamina-test-")
        .tempdir_in(place);
    builder.expect("a folder")
}

/// Starts a daemon for a test, or says why the test is skipped.
macro_rules! daemon {
    () => {{
        let daemon = crate::daemon::Daemon::listen();
        if let Err(reason) = daemon.open().await {
            return crate::harness::Outcome::Skipped(reason);
        }
        daemon
    }};
}
pub(crate) use daemon;
