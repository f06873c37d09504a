//! What BuildKit's daemon answered (`tests/goldens/wire.json`), asked of ours: errors with their codes,
//! messages and details, capabilities, workers and reads; and the parts of the protocol that no
//! client at hand uses any more.
//!
//! ```text
//! Wire       a daemon, a held build (a session and a gateway), and a channel for raw requests
//! recorded   the answers of BuildKit
//! shown      an answer of ours in the same form
//! ```

mod attacks;
mod bridge;
mod capabilities;
mod compare;
mod containers;
mod errors;
mod inputs;
mod policy;
mod reads;
mod requests;
mod sessions;
mod solve;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lamina_client::BuildRequest;
use lamina_client::Client;
use lamina_client::ClientError;
use lamina_client::Gateway;
use lamina_client::llb::State;
use lamina_proto::control::SolveRequest;
use lamina_proto::control::control_client::ControlClient;
use lamina_proto::gateway;
use lamina_proto::gateway::llb_bridge_client::LlbBridgeClient;
use lamina_session::LocalSession;
use lamina_session::Session;
use lamina_types::CancelToken;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Request;
use tonic::Status;
use tonic::transport::Channel;
use tonic::transport::Endpoint;

use super::rig::Daemon;
use crate::harness::Lamina;
use crate::harness::User;
use crate::harness::base;
use crate::harness::report;

/// The largest message of the protocol (row NET-04).
const MESSAGE_BYTES: usize = 16 << 20;

/// A client of a daemon, with a session that offers the busybox folder as `base`.
pub(super) struct Wire {
    pub(super) client: Client,
    pub(super) channel: Channel,
    /// The id of the session, and of the build that `gateway` drives.
    pub(super) session: String,
    pub(super) gateway: Gateway,
}

/// Runs `test` on a daemon with the flags that `prepare` returns, or says why it cannot; checks what
/// the daemon leaves.
pub(super) fn with_flags(
    prepare: impl FnOnce(&Lamina) -> Vec<String>,
    test: impl AsyncFnOnce(&Wire),
) {
    with_daemon_of(User::Root, prepare, test);
}

/// As [`with_flags`], for a daemon of `user`.
pub(super) fn with_daemon_of(
    user: User,
    prepare: impl FnOnce(&Lamina) -> Vec<String>,
    test: impl AsyncFnOnce(&Wire),
) {
    let mut daemon = match Daemon::prepare(user) {
        Ok(daemon) => daemon,
        Err(reason) => return report(&format!("skipped: {user:?}: {reason}")),
    };
    let flags = prepare(&daemon.lamina);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    daemon.launch(&flags);
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (wire, held) = Wire::connect(&daemon.address()).await;
        test(&wire).await;
        held.release().await.expect("the held build ends well");
    });
    daemon.stop();
}

/// As [`with_flags`], without any.
pub(super) fn with_daemon(test: impl AsyncFnOnce(&Wire)) {
    with_flags(|_| Vec::new(), test);
}

impl Wire {
    async fn connect(address: &str) -> (Self, Held) {
        let client = Client::connect(address, &Default::default()).await;
        let client = client.expect("the daemon listens");
        let endpoint = Endpoint::from_shared(address.to_owned()).expect("an address");
        let channel = endpoint.connect().await.expect("the daemon listens");
        let folder = base().expect("checked at the start");
        let session = Arc::new(offering("base", folder));
        let id = session.id().to_owned();
        let mut request = BuildRequest::new(session);
        request.id.clone_from(&id);
        let (gateway, held) = hold(&client, request).await;
        let wire = Self {
            client,
            channel,
            session: id,
            gateway,
        };
        (wire, held)
    }

    /// Sends a request as it is.
    pub(super) async fn solve(
        &self,
        request: SolveRequest,
    ) -> Result<BTreeMap<String, String>, Status> {
        let answer = self.control().solve(request).await?;
        Ok(answer.into_inner().exporter_response)
    }

    pub(super) fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES)
    }

    /// LLBBridge, for requests in forms that [`Gateway`] does not use.
    pub(super) fn bridge(&self) -> LlbBridgeClient<Channel> {
        LlbBridgeClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES)
    }

    /// Solves lazily within the held build; returns the reference's id.
    pub(super) async fn reference(&self, state: &State) -> String {
        let solved = self.gateway.solve(of_definition(state)).await;
        reference_of(&solved.expect("solved lazily"))
    }
}

/// Adds what says which build a call belongs to (row NET-07).
pub(super) fn of_build<T>(id: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let id = id.parse().expect("printable");
    request
        .metadata_mut()
        .insert("buildkit-controlapi-buildid", id);
    request
}

/// The busybox tree of the session.
pub(super) fn base_tree() -> State {
    State::local("base")
}

/// Asks for a definition.
pub(super) fn of_definition(state: &State) -> gateway::SolveRequest {
    gateway::SolveRequest {
        definition: Some(state.definition()),
        ..gateway::SolveRequest::default()
    }
}

/// Returns the id of the only reference of a result; empty where there is none.
pub(super) fn reference_of(result: &gateway::Result) -> String {
    match &result.result {
        Some(gateway::result::Result::Ref(one)) => one.id.clone(),
        Some(gateway::result::Result::RefDeprecated(id)) => id.clone(),
        _ => String::new(),
    }
}

/// Returns a session that offers one folder.
pub(super) fn offering(name: &str, folder: &Path) -> LocalSession {
    LocalSession::builder().local_dir(name, folder).build()
}

/// A build that its client drives until it is released; its session is there as long.
pub(super) struct Held {
    end: oneshot::Sender<()>,
    build: JoinHandle<Result<(), ClientError>>,
}

impl Held {
    pub(super) async fn release(self) -> Result<(), ClientError> {
        drop(self.end);
        self.build.await.expect("no panic")
    }
}

/// Starts a build that does nothing by itself.
pub(super) async fn hold(client: &Client, request: BuildRequest) -> (Gateway, Held) {
    let (give, given) = oneshot::channel();
    let (end, ended) = oneshot::channel::<()>();
    let client = client.clone();
    let build = tokio::spawn(async move {
        let drive = |gateway: Gateway| async move {
            gateway.ping().await?;
            give.send(gateway).ok();
            ended.await.ok();
            Ok(gateway::Result::default())
        };
        let (events, _) = mpsc::unbounded_channel();
        let never = CancelToken::new();
        let built = client.build(request, drive, events, &never);
        built.await.map(drop)
    });
    (given.await.expect("the build begins"), Held { end, build })
}
