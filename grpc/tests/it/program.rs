//! A frontend that is a program: run by `gateway.v0`, it speaks LLBBridge on its standard streams.
//!
//! The program is this test binary in another role; an option tells it how to behave.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::process::exit;
use std::sync::Arc;

use lamina_frontend::DockerfileFrontend;
use lamina_frontend::GatewayFrontend;
use lamina_grpc::PipeServer;
use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_llb::ResultRefs;
use lamina_proto::gateway;
use lamina_proto::gateway::llb_bridge_client::LlbBridgeClient;
use lamina_proto::gateway::result;
use lamina_proto::rpc;
use tokio::net::unix::pipe;

use crate::block_on;
use crate::bridge::MemoryBridge;
use crate::bridge::definition;
use crate::harness::Outcome;
use crate::wire;

/// The first argument in that role.
pub(crate) const ROLE: &str = "pipe-frontend";

/// Runs the program; never returns.
pub(crate) fn main() -> ! {
    let behaviour = option("behave").unwrap_or_default();
    block_on(async {
        match behaviour.as_str() {
            "silent" => exit(0),
            "crash" => exit(3),
            "close" => close(),
            behaviour => talk(behaviour).await,
        }
    });
    exit(0)
}

/// Closes the pipe and stays.
fn close() {
    let null = std::fs::File::open("/dev/null").expect("a device");
    rustix::stdio::dup2_stdin(&null).expect("a descriptor");
    rustix::stdio::dup2_stdout(&null).expect("a descriptor");
    loop {
        std::thread::park();
    }
}

async fn talk(behaviour: &str) {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    let stdout = std::io::stdout().as_fd().try_clone_to_owned();
    let reader = pipe::Receiver::from_owned_fd(stdin.expect("a descriptor"));
    let writer = pipe::Sender::from_owned_fd(stdout.expect("a descriptor"));
    let pipe = tokio::io::join(reader.expect("a pipe"), writer.expect("a pipe"));
    let mut client = LlbBridgeClient::new(wire::channel(pipe).await);
    let pong = client.ping(gateway::PingRequest {}).await.expect("pong");
    assert!(!pong.into_inner().llb_caps.is_empty());
    if behaviour == "error" {
        let error = rpc::Status {
            code: 5,
            message: "not my day".to_owned(),
            details: Vec::new(),
        };
        let request = gateway::ReturnRequest {
            error: Some(error),
            ..gateway::ReturnRequest::default()
        };
        client.r#return(request).await.expect("taken");
        exit(4);
    }
    let solved = client.solve(gateway::SolveRequest {
        definition: Some(definition(b"tree")),
        ..gateway::SolveRequest::default()
    });
    let id = solved.await.expect("solved").into_inner().r#ref;
    let inputs = client
        .inputs(gateway::InputsRequest {})
        .await
        .expect("inputs");
    let names: Vec<String> = inputs.into_inner().definitions.into_keys().collect();
    let text = |text: String| text.into_bytes();
    let metadata: BTreeMap<String, Vec<u8>> = [
        ("inputs".to_owned(), text(names.join(","))),
        ("session".to_owned(), text(variable("BUILDKIT_SESSION_ID"))),
        ("workers".to_owned(), text(variable("BUILDKIT_WORKERS"))),
        (
            "other".to_owned(),
            text(option("other").unwrap_or_default()),
        ),
    ]
    .into();
    let result = gateway::Result {
        result: Some(result::Result::RefDeprecated(id)),
        metadata,
        ..gateway::Result::default()
    };
    let request = gateway::ReturnRequest {
        result: Some(result),
        error: None,
    };
    client.r#return(request).await.expect("taken");
    exit(if behaviour == "crash-late" { 3 } else { 0 });
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Returns an option of the build, as programs are told of it (row FGW-08).
fn option(wanted: &str) -> Option<String> {
    let prefix = "BUILDKIT_FRONTEND_OPT_";
    let options = std::env::vars().filter(|(name, _)| name.starts_with(prefix));
    options
        .filter_map(|(_, pair)| {
            pair.split_once('=')
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
        })
        .find_map(|(key, value)| (key == wanted).then_some(value))
}

fn build(bridge: MemoryBridge) -> Result<BuildResult, BuildError> {
    let frontend = GatewayFrontend::new(Arc::new(PipeServer));
    block_on(async { frontend.build(Arc::new(bridge)).await })
}

/// Rows FGW-07, FGW-08, FGW-11, GW-30, GW-36.
pub(crate) fn endings_are_judged() -> Outcome {
    for (behaviour, expected) in [
        ("result", None),
        ("error", Some("not my day")),
        ("crash-late", Some("the program failed: Some(3)")),
        ("silent", Some("no result for incomplete build")),
        ("crash", Some("the program failed: Some(3)")),
        ("close", Some("frontend grpc server closed unexpectedly")),
    ] {
        let mut bridge = MemoryBridge::with_options(&[
            ("source", "h/frontend"),
            ("behave", behaviour),
            ("other", "a=b c"),
            ("frontend.caps", "moby.buildkit.frontend.inputs+forward"),
        ]);
        bridge.inputs.insert("in".to_owned(), definition(b"in"));
        let caps = "moby.buildkit.frontend.inputs,x".to_owned();
        bridge
            .labels
            .insert("moby.buildkit.frontend.caps".to_owned(), caps);
        match (build(bridge), expected) {
            (Err(error), Some(expected)) => {
                assert_eq!(error.message, expected, "{behaviour}");
                let frontend = error.frontend.expect("a name");
                assert_eq!(
                    (frontend.name.as_str(), frontend.source.as_str()),
                    ("gateway.v0", "h/frontend")
                );
            }
            (Ok(result), None) => {
                assert!(matches!(result.refs, ResultRefs::Single(Some(_))));
                assert_eq!(result.metadata["inputs"], b"in");
                assert_eq!(result.metadata["session"], b"session");
                assert_eq!(result.metadata["other"], b"a=b c");
                let workers = String::from_utf8_lossy(&result.metadata["workers"]).into_owned();
                assert!(workers.contains(r#""id":"worker""#), "{workers}");
            }
            (result, _) => panic!("{behaviour}: {:?}", result.map(|_| ())),
        }
    }
    Outcome::Passed
}

/// Rows FGW-01, FGW-03 to FGW-05, ERR-07.
pub(crate) fn images_are_checked() -> Outcome {
    let message = |options: &[(&str, &str)]| {
        let mut bridge = MemoryBridge::with_options(options);
        bridge.inputs.insert("in".to_owned(), definition(b"in"));
        build(bridge).err().expect("an error")
    };
    let error = message(&[]);
    assert_eq!(error.message, "no source specified for gateway");
    assert_eq!(error.frontend.expect("a name").source, "");
    let error = message(&[("source", "Bad/Ref")]);
    assert!(
        error.message.starts_with("invalid context name Bad/Ref"),
        "{error}"
    );
    let error = message(&[("source", "x"), ("gateway-devel", "")]);
    assert_eq!(error.message, "development gateway is no longer supported");
    let error = message(&[("source", "x"), ("frontend.caps", "a")]);
    assert_eq!(error.message, "unsupported frontend capability a");
    assert_eq!(error.frontend_cap.as_deref(), Some("a"));
    // Inputs are needed by builds that have some.
    let error = message(&[("source", "x")]);
    assert_eq!(
        error.frontend_cap.as_deref(),
        Some("moby.buildkit.frontend.inputs")
    );
    let context = |value| message(&[("source", "h/x:latest"), ("context:h/x", value)]);
    let error = context("weird:x");
    assert_eq!(error.message, "unsupported context source weird for h/x");
    let error = context("input:nope");
    assert_eq!(error.message, "invalid input nope for h/x");
    let error = context("nothing");
    assert_eq!(error.message, "invalid context specifier nothing for h/x");
    Outcome::Passed
}

/// Rows FDF-34, FDF-46, FGW-02, FGW-12: the whole build is handed over.
pub(crate) fn syntax_lines_hand_over() -> Outcome {
    let line = "h/frontend:1 and more";
    let options = [("build-arg:BUILDKIT_SYNTAX", line), ("target", "t")];
    let bridge = Arc::new(MemoryBridge::with_options(&options));
    let dynamic = Arc::clone(&bridge) as Arc<dyn Bridge>;
    let result = block_on(async move { DockerfileFrontend.build(dynamic).await });
    assert!(matches!(
        result.expect("built").refs,
        ResultRefs::Single(Some(_))
    ));
    let asked = bridge.frontends.lock().expect("unpoisoned");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].name, "gateway.v0");
    assert_eq!(asked[0].options["source"], "h/frontend:1");
    assert_eq!(asked[0].options["cmdline"], line);
    assert_eq!(asked[0].options["target"], "t");
    Outcome::Passed
}
