//! Containers of a client's build, and the processes in them (rows EXE-01 to EXE-24).

pub(crate) mod mounts;
pub(crate) mod processes;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use lamina_client::BuildRequest;
use lamina_client::Client;
use lamina_client::ClientError;
use lamina_client::Container;
use lamina_client::ContainerProcess;
use lamina_client::Gateway;
use lamina_client::ProcessEvent;
use lamina_client::llb::State;
use lamina_proto::gateway;
use lamina_proto::gateway::exec_message::Input;
use lamina_proto::gateway::llb_bridge_client::LlbBridgeClient;
use lamina_proto::gateway::result;
use lamina_proto::pb;
use lamina_session::LocalSession;
use lamina_types::CancelToken;

use crate::block_on;
use crate::daemon::Daemon;
use crate::daemon::daemon;
use crate::driven::call;
use crate::harness::Outcome;

const BUSYBOX: &str = "/bin/busybox";

/// The id of the builds of these tests.
const BUILD: &str = "containers";

type Answer = Pin<Box<dyn Future<Output = Result<(), ClientError>> + Send>>;

/// A build that is driven by a test, with the daemon and another way to it.
#[derive(Clone)]
struct Driven {
    gateway: Gateway,
    raw: LlbBridgeClient<tonic::transport::Channel>,
}

/// Drives a build by `test`. It has no entitlements.
fn drive(test: fn(Driven) -> Answer) -> Outcome {
    if !std::path::Path::new(BUSYBOX).exists() {
        return Outcome::Skipped("no static busybox".to_owned());
    }
    block_on(async {
        let daemon: Daemon = daemon!();
        built(&daemon, BUILD, test).await.expect("the build");
        Outcome::Passed
    })
}

async fn built(daemon: &Daemon, id: &str, test: fn(Driven) -> Answer) -> Result<(), ClientError> {
    let client = Client::connect(&daemon.address(), &Default::default()).await?;
    let session = LocalSession::builder()
        .secret_bytes("token", b"s3cr3t")
        .build();
    let mut request = BuildRequest::new(Arc::new(session));
    request.id = id.to_owned();
    let raw = LlbBridgeClient::new(daemon.connect().await);
    let drive = |gateway: Gateway| async move {
        test(Driven { gateway, raw }).await?;
        Ok(gateway::Result::default())
    };
    let (events, _keep) = tokio::sync::mpsc::unbounded_channel();
    let cancel = CancelToken::new();
    let built = client.build(request, drive, events, &cancel);
    built.await.map(drop)
}

/// A test of a driven build.
macro_rules! driven {
    ($name:ident, $driven:ident, $body:block) => {
        pub(crate) fn $name() -> Outcome {
            drive(|$driven| {
                Box::pin(async move {
                    $body
                    Ok(())
                })
            })
        }
    };
}
use driven;

fn base() -> State {
    let busybox = std::fs::read(BUSYBOX).expect("busybox");
    let root = State::scratch().mkdir("/bin", 0o755).mkdir("/etc", 0o755);
    root.mkfile(BUSYBOX, 0o755, busybox).mkfile(
        "/etc/passwd",
        0o644,
        "root:x:0:0::/:\napp:x:1234:1234::/:\n",
    )
}

impl Driven {
    /// Solves, and returns the id of the tree.
    async fn solve(&self, state: &State) -> Result<String, ClientError> {
        let request = gateway::SolveRequest {
            definition: Some(state.definition()),
            evaluate: true,
            ..gateway::SolveRequest::default()
        };
        match self.gateway.solve(request).await?.result {
            Some(result::Result::Ref(one)) => Ok(one.id),
            other => panic!("{other:?}"),
        }
    }

    /// A container on the base, with further mounts.
    async fn container(&self, mounts: Vec<pb::Mount>) -> Result<Container, ClientError> {
        let root = mount("/", &self.solve(&base()).await?);
        let request = gateway::NewContainerRequest {
            mounts: [root].into_iter().chain(mounts).collect(),
            ..gateway::NewContainerRequest::default()
        };
        self.gateway.new_container(request).await
    }

    /// Makes a container with this id of the client's.
    async fn named(&mut self, id: &str) -> Result<(), tonic::Status> {
        let root = self.solve(&base()).await.expect("the base");
        let request = gateway::NewContainerRequest {
            container_id: id.to_owned(),
            mounts: vec![mount("/", &root)],
            ..gateway::NewContainerRequest::default()
        };
        let made = self.raw.new_container(call(BUILD, request)).await;
        made.map(drop)
    }

    /// Sends messages, and returns what comes back, with the error at the end if there is one.
    async fn exchange(
        &mut self,
        messages: Vec<gateway::ExecMessage>,
    ) -> (Vec<gateway::ExecMessage>, Option<tonic::Status>) {
        // Not ended: that would be the end of all input.
        let messages = futures_util::StreamExt::chain(
            futures_util::stream::iter(messages),
            futures_util::stream::pending(),
        );
        let stream = self.raw.exec_process(call(BUILD, messages)).await;
        let mut stream = stream.expect("a stream").into_inner();
        let mut got = Vec::new();
        loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    let is_last = matches!(message.input, Some(Input::Done(_)));
                    got.push(message);
                    if is_last {
                        return (got, None);
                    }
                }
                Ok(None) => return (got, None),
                Err(status) => return (got, Some(status)),
            }
        }
    }
}

fn mount(dest: &str, id: &str) -> pb::Mount {
    pb::Mount {
        dest: dest.to_owned(),
        result_id: id.to_owned(),
        ..pb::Mount::default()
    }
}

fn init(script: &str) -> gateway::InitMessage {
    gateway::InitMessage {
        meta: Some(pb::Meta {
            args: [BUSYBOX, "sh", "-c", script].map(str::to_owned).into(),
            ..pb::Meta::default()
        }),
        fds: vec![0, 1, 2],
        ..gateway::InitMessage::default()
    }
}

/// Reads all that a process writes, and its code.
async fn finish(process: &mut ContainerProcess) -> Result<(u32, String), ClientError> {
    let (mut code, mut said) = (None, Vec::new());
    while let Some(event) = process.next().await? {
        match event {
            ProcessEvent::Output { data, .. } => said.extend_from_slice(&data),
            ProcessEvent::Exited(exit) => code = Some(exit.code),
            ProcessEvent::Closed { .. } => {}
        }
    }
    Ok((
        code.expect("an end"),
        String::from_utf8(said).expect("text"),
    ))
}

async fn run(container: &Container, script: &str) -> Result<(u32, String), ClientError> {
    let mut process = container.start(init(script)).await?;
    process.input().close().await;
    finish(&mut process).await
}
