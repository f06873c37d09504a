//! Builds by a daemon.

use std::process::ExitCode;
use std::sync::Arc;

use lamina_client::BuildRequest;
use lamina_client::ClientError;
use lamina_client::Failure;
use lamina_llb::BuildError;
use lamina_llb::CacheOption;
use lamina_llb::SourceExcerpt;
use tokio::sync::mpsc;

use super::driven::Driven;
use super::driven::Driver;
use super::job::Asked;
use super::job::Job;
use crate::args::ConnectionArgs;
use crate::args::ResultArgs;
use crate::connect;
use crate::error::CliError;
use crate::progress;
use crate::progress::Patience;
use crate::signals;

/// Messages of the daemon that wait to be taken apart; the others wait there.
const MESSAGES: usize = 16;

/// The code of what was cancelled.
const CANCELLED: i32 = 1;

/// Lets the daemon at `address` build, shows progress, and tells the end.
pub(super) async fn run(
    job: Job,
    driver: Option<Driver>,
    address: &str,
    connection: &ConnectionArgs,
    args: &ResultArgs,
) -> Result<ExitCode, CliError> {
    let cancel = signals::cancel_on_signal()?;
    let client = tokio::select! {
        client = connect::connect_to(address, connection) => client?,
        () = cancel.cancelled() => return Ok(signals::INTERRUPTED.into()),
    };
    let (sender, mut messages) = mpsc::channel(MESSAGES);
    let (teller, shown, holder) = progress::show(args.progress, Patience::SHORT);
    let driven = driver.map(|driver| Driven::new(driver, &job.source, holder));
    let converted = tokio::spawn(async move {
        while let Some(message) = messages.recv().await {
            for event in progress::events(message) {
                teller.tell(event).await;
            }
        }
    });
    let outcome = match &driven {
        None => client.solve(request(&job), sender, &cancel).await,
        Some(driven) => {
            let drive = |gateway| driven.drive(gateway);
            let built = client.build(undriven(request(&job)), drive, sender, &cancel);
            built.await
        }
    };
    drop(converted.await);
    let steps = shown.steps().await;
    let code = driven.as_ref().and_then(Driven::finish);
    let outcome = match outcome {
        Ok(response) => Ok(response),
        Err(ClientError::Daemon(failure)) => Err(build_error(*failure)),
        Err(ClientError::Cancelled(_)) => Err(cancelled()),
        Err(other) => return Err(other.into()),
    };
    super::end(&job, outcome, args, &steps, code)
}

/// Leaves what makes the result to who drives the build.
fn undriven(mut request: BuildRequest) -> BuildRequest {
    request.definition = None;
    request.frontend.clear();
    request.options.clear();
    request.inputs.clear();
    request
}

fn request(job: &Job) -> BuildRequest {
    let pairs = |options: &[CacheOption]| {
        let pair = |option: &CacheOption| (option.kind.clone(), option.attrs.clone());
        options.iter().map(pair).collect()
    };
    let outputs = job.outputs.iter();
    let asked = Asked::of(&job.source);
    BuildRequest {
        id: String::new(),
        definition: asked.definition,
        frontend: asked.frontend,
        options: asked.options,
        inputs: asked.inputs,
        exports: outputs
            .map(|output| (output.kind.clone(), output.attrs.clone()))
            .collect(),
        cache_imports: pairs(&job.caches.imports),
        cache_exports: pairs(&job.caches.exports),
        entitlements: job.allow.clone(),
        policy: job.policy.clone(),
        internal: false,
        session: Arc::clone(&job.session),
    }
}

/// The daemon's error as one of this process, so that both are reported alike.
pub(super) fn build_error(failure: Failure) -> BuildError {
    let excerpt = |(info, ranges)| SourceExcerpt { info, ranges };
    BuildError {
        cancelled: failure.code == CANCELLED,
        message: failure.message,
        vertex: failure.vertex.and_then(|vertex| vertex.parse().ok()),
        sources: failure.sources.into_iter().map(excerpt).collect(),
        exit_code: failure.exit_code,
        code: Some(failure.code),
        ..BuildError::default()
    }
}

fn cancelled() -> BuildError {
    BuildError {
        message: lamina_types::Cancelled.to_string(),
        cancelled: true,
        ..BuildError::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemons_failure_is_told_like_our_own() {
        let failure = Failure {
            code: 2,
            message: "it broke".to_owned(),
            vertex: Some("nonsense".to_owned()),
            exit_code: Some(7),
            ..Failure::default()
        };
        let error = build_error(failure);
        assert_eq!(error.message, "it broke");
        assert_eq!(error.exit_code, Some(7));
        assert_eq!(error.vertex, None);
        assert!(!error.cancelled && cancelled().cancelled);
    }
}
