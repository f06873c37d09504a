//! A build that uses all that a frontend may ask for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpStream;

use lamina_client::ClientError;
use lamina_client::Gateway;
use lamina_client::frontend::Invocation;
use lamina_client::llb::State;
use lamina_proto::gateway;
use lamina_proto::pb;
use lamina_types::Digest;

use crate::argument;
use crate::reference;
use crate::solve;

/// What the other frontend is given.
const DOCKERFILE: &str = "FROM scratch\nCOPY report /report\n";

pub(crate) async fn build(
    gateway: &Gateway,
    invocation: &Invocation,
) -> Result<gateway::Result, ClientError> {
    let pong = gateway.ping().await?;
    assert!(!pong.llb_caps.is_empty() && !pong.frontend_api_caps.is_empty());
    let mut report = about_process(invocation);
    let mut line = |name: &str, value: &str| {
        writeln!(report, "{name}: {}", value.trim()).expect("memory");
    };
    let inputs = gateway.inputs().await?;
    let names: Vec<&str> = inputs.keys().map(String::as_str).collect();
    line("inputs", &names.join(" "));
    let context = context(invocation, &inputs);
    line("context", &words(gateway, &context).await?);
    line("image", &entrypoint(gateway, invocation).await?);
    line("secret", &secret(gateway, invocation).await?);
    warn(gateway, &context).await?;
    dockerfile(gateway, report).await
}

/// Says what the daemon gave to this process (rows FGW-07 to FGW-09).
fn about_process(invocation: &Invocation) -> String {
    let platform = invocation.workers.first().map(|worker| {
        let platform = worker.platforms.first().cloned();
        platform.map_or_else(String::new, |platform| platform.os)
    });
    let definition = std::fs::read("/run/config/buildkit/metadata/frontend.bin");
    let writable = std::fs::write("/probe", "").is_ok();
    format!(
        "session: {}\nproduct: {}\nworker: {}\ndefinition: {}\nwritable: {writable}\nextra: {}\n",
        !invocation.session_id.is_empty(),
        invocation.product,
        platform.unwrap_or_default(),
        definition.is_ok_and(|bytes| !bytes.is_empty()),
        argument(invocation, "EXTRA"),
    )
}

/// Returns the input of that name, or a directory of the client.
fn context(invocation: &Invocation, inputs: &BTreeMap<String, pb::Definition>) -> pb::Definition {
    let session = [("local.session", invocation.session_id.as_str())];
    let local = || State::source("local://context", &session, None).definition();
    inputs.get("context").cloned().unwrap_or_else(local)
}

/// Reads a file of the context in all ways there are.
async fn words(gateway: &Gateway, context: &pb::Definition) -> Result<String, ClientError> {
    let request = gateway::SolveRequest {
        definition: Some(context.clone()),
        ..gateway::SolveRequest::default()
    };
    let result = gateway.solve(request).await?;
    let id = reference(&result);
    gateway.evaluate(id).await?;
    let entries = gateway.read_dir(id, "/", "words*").await?;
    assert_eq!(entries.len(), 1, "{entries:?}");
    let stat = gateway.stat_file(id, "words.txt").await?;
    let data = gateway.read_file(id, "words.txt", None).await?;
    assert_eq!(stat.size, i64::try_from(data.len()).expect("small"));
    Ok(String::from_utf8_lossy(&data).into_owned())
}

/// Looks the image up that this program is in.
async fn entrypoint(gateway: &Gateway, invocation: &Invocation) -> Result<String, ClientError> {
    let request = gateway::ResolveImageConfigRequest {
        r#ref: argument(invocation, "IMAGE").to_owned(),
        ..gateway::ResolveImageConfigRequest::default()
    };
    let resolved = gateway.resolve_image_config(request).await?;
    assert!(resolved.digest.starts_with("sha256:"), "{resolved:?}");
    let config: serde_json::Value = serde_json::from_slice(&resolved.config).expect("JSON");
    Ok(config["config"]["Entrypoint"].to_string())
}

/// Runs a step that reads a secret of the client, and returns how long that is.
async fn secret(gateway: &Gateway, invocation: &Invocation) -> Result<String, ClientError> {
    let image = State::image(argument(invocation, "IMAGE"));
    let script = "wc -c < /run/secrets/token > /length";
    let step = image.run(["/bin/sh", "-c", script]);
    let length = step.secret("/run/secrets/token", "token").root();
    let request = gateway::SolveRequest {
        evaluate: true,
        ..solve(&length)
    };
    let result = gateway.solve(request).await?;
    let data = gateway.read_file(reference(&result), "/length", None);
    Ok(String::from_utf8_lossy(&data.await?).into_owned())
}

async fn warn(gateway: &Gateway, context: &pb::Definition) -> Result<(), ClientError> {
    let vertex = context.def.iter().rev().nth(1).expect("a source");
    let warning = gateway::WarnRequest {
        digest: Digest::of(vertex).to_string(),
        level: 1,
        short: b"the frontend has doubts".to_vec(),
        ranges: vec![pb::Range::default()],
        ..gateway::WarnRequest::default()
    };
    gateway.warn(warning).await
}

/// Has the built-in frontend make the result (row FGW-12).
async fn dockerfile(gateway: &Gateway, report: String) -> Result<gateway::Result, ClientError> {
    let file = State::scratch().mkfile("/Dockerfile", 0o644, DOCKERFILE);
    let context = State::scratch().mkfile("/report", 0o644, report);
    let inputs = [("dockerfile", file), ("context", context)];
    let inputs = inputs.map(|(name, state)| (name.to_owned(), state.definition()));
    let request = gateway::SolveRequest {
        frontend: "dockerfile.v0".to_owned(),
        frontend_opt: [("label:made.by".to_owned(), "frontend".to_owned())].into(),
        frontend_inputs: inputs.into(),
        ..gateway::SolveRequest::default()
    };
    gateway.solve(request).await
}

/// Says whether `PEER` can be reached from here (row FGW-10).
pub(crate) async fn network(
    gateway: &Gateway,
    invocation: &Invocation,
) -> Result<gateway::Result, ClientError> {
    let reached = TcpStream::connect(argument(invocation, "PEER")).is_ok();
    let report = State::scratch().mkfile("/report", 0o644, format!("reached: {reached}\n"));
    gateway.solve(solve(&report)).await
}
