//! A frontend for tests: packed into an image, it does what the build argument `MODE` says.
//!
//! Without one it makes use of all that a frontend may ask for, and writes down what it found in a
//! file `report` of the result.

#![expect(
    clippy::print_stderr,
    reason = "the daemon shows it to the user if the program fails"
)]

mod endings;
mod everything;

use std::process::ExitCode;

use lamina_client::ClientError;
use lamina_client::Failure;
use lamina_client::Gateway;
use lamina_client::frontend;
use lamina_client::frontend::Invocation;
use lamina_proto::gateway;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    endings::close();
    match frontend::run(build).await {
        Ok(()) => endings::after(),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn build(gateway: Gateway, invocation: Invocation) -> Result<gateway::Result, ClientError> {
    match argument(&invocation, "MODE") {
        "" => everything::build(&gateway, &invocation).await,
        "silent" => std::process::exit(0),
        "crash" => endings::crash(),
        "late-crash" => Ok(gateway::Result::default()),
        "die" => endings::die(&gateway, &invocation).await,
        "error" => Err(endings::error().into()),
        "step" => endings::failing_step(&gateway, &invocation).await,
        "nested" => endings::nested(&gateway, &invocation).await,
        "network" => everything::network(&gateway, &invocation).await,
        mode => Err(Failure::new(format!("unknown mode {mode:?}")).into()),
    }
}

/// Returns a build argument, or nothing.
fn argument<'a>(invocation: &'a Invocation, name: &str) -> &'a str {
    let value = invocation.options.get(&format!("build-arg:{name}"));
    value.map_or("", String::as_str)
}

/// Returns the id of a result's only reference.
fn reference(result: &gateway::Result) -> &str {
    match &result.result {
        Some(gateway::result::Result::RefDeprecated(id)) => id,
        Some(gateway::result::Result::Ref(reference)) => &reference.id,
        _ => "",
    }
}

/// Asks for a tree, made when it is needed.
fn solve(state: &lamina_client::llb::State) -> gateway::SolveRequest {
    gateway::SolveRequest {
        definition: Some(state.definition()),
        ..gateway::SolveRequest::default()
    }
}
