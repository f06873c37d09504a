//! Ways to end a build, most of them bad.

use std::process::ExitCode;
use std::time::Duration;

use lamina_client::ClientError;
use lamina_client::Failure;
use lamina_client::Gateway;
use lamina_client::frontend::Invocation;
use lamina_client::llb::State;
use lamina_proto::gateway;

use crate::argument;
use crate::solve;

/// Ends after the result was taken.
pub(crate) fn after() -> ExitCode {
    match is_asked_for("build-arg:MODE=late-crash") {
        true => ExitCode::from(4),
        false => ExitCode::SUCCESS,
    }
}

/// Ends without a word to the daemon, but with one to the user.
pub(crate) fn crash() -> ! {
    eprintln!("out of ideas");
    std::process::exit(3)
}

/// Closes the pipes and stays, if that is the mode.
pub(crate) fn close() {
    if !is_asked_for("build-arg:MODE=close") {
        return;
    }
    let null = std::fs::File::open("/dev/null").expect("a device");
    rustix::stdio::dup2_stdin(&null).expect("a descriptor");
    rustix::stdio::dup2_stdout(&null).expect("a descriptor");
    loop {
        std::thread::park();
    }
}

/// Says whether an option of the build is so, before there is a connection.
fn is_asked_for(option: &str) -> bool {
    std::env::vars().any(|(_, value)| value == option)
}

/// Is killed while a step runs.
pub(crate) async fn die(
    gateway: &Gateway,
    invocation: &Invocation,
) -> Result<gateway::Result, ClientError> {
    let sleep = format!("sleep {}", argument(invocation, "SECONDS"));
    let request = gateway::SolveRequest {
        evaluate: true,
        ..solve(&step(invocation, &sleep))
    };
    tokio::select! {
        result = gateway.solve(request) => result,
        () = tokio::time::sleep(Duration::from_millis(500)) => std::process::abort(),
    }
}

/// Returns an error that says where in which file, and something that nobody knows.
pub(crate) fn error() -> Failure {
    // FROM nothing
    let source = r#"{"info":{"filename":"Recipe","data":"RlJPTSBub3RoaW5nCg==","language":"x"},
        "ranges":[{"start":{"line":1},"end":{"line":1}}]}"#;
    let detail = |kind: &str, value: &str| (kind.to_owned(), value.as_bytes().to_vec());
    Failure {
        code: 9,
        details: vec![
            detail("github.com/moby/buildkit/errdefs.Source+json", source),
            detail("example.com/of.its.own", "as it was"),
        ],
        ..Failure::new("not on a Sunday")
    }
}

/// Hands on the error of a step.
pub(crate) async fn failing_step(
    gateway: &Gateway,
    invocation: &Invocation,
) -> Result<gateway::Result, ClientError> {
    let request = gateway::SolveRequest {
        evaluate: true,
        ..solve(&step(invocation, "echo before; exit 7"))
    };
    gateway.solve(request).await
}

/// Hands on the error of another frontend: this one.
pub(crate) async fn nested(
    gateway: &Gateway,
    invocation: &Invocation,
) -> Result<gateway::Result, ClientError> {
    let mut options = invocation.options.clone();
    options.insert(
        "source".to_owned(),
        argument(invocation, "IMAGE").to_owned(),
    );
    options.insert("build-arg:MODE".to_owned(), "error".to_owned());
    let request = gateway::SolveRequest {
        frontend: "gateway.v0".to_owned(),
        frontend_opt: options.into_iter().collect(),
        ..gateway::SolveRequest::default()
    };
    gateway.solve(request).await
}

fn step(invocation: &Invocation, script: &str) -> State {
    let image = State::image(argument(invocation, "IMAGE"));
    image.run(["/bin/sh", "-c", script]).root()
}
