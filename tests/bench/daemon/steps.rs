//! Steps: what one costs that does nothing, and how fast the output of one arrives.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use lamina_client::BuildRequest;
use lamina_client::llb::State;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use tokio::sync::mpsc;

use crate::Outcome;
use crate::subject::Subject;
use crate::table::heading;
use crate::table::row;

/// Steps that follow one another.
const CHAIN: u32 = 50;

/// Each figure is the best of so many, since other programs run too.
const ROUNDS: usize = 3;

/// Lines of the log.
const LINES: usize = 1_000_000;

/// Steps on the root file system in the folder `base`.
pub(crate) async fn steps(subjects: &[Subject], base: &Path) -> Outcome<()> {
    heading("steps");
    let mut times = Vec::new();
    for subject in subjects {
        times.push(best(async |round| chain(subject, base, round).await).await?);
    }
    row(
        "a step of /bin/true, one of 50 in a row",
        &times,
        "ms",
        false,
    );
    let mut rates = Vec::new();
    for subject in subjects {
        let time = best(async |round| log(subject, base, round).await).await?;
        rates.push(LINES as f64 / time);
    }
    row("a log of 1,000,000 lines", &rates, "lines/ms", true);
    Ok(())
}

/// Returns the least time of some rounds, in milliseconds.
async fn best(mut one: impl AsyncFnMut(usize) -> Outcome<Duration>) -> Outcome<f64> {
    let mut least = f64::MAX;
    for round in 0..ROUNDS {
        least = least.min(one(round).await?.as_secs_f64() * 1e3);
    }
    Ok(least)
}

/// Different in each run, so that no daemon knows it.
fn salt(round: usize) -> String {
    format!("{} {round}", std::process::id())
}

fn session(base: &Path) -> LocalSession {
    LocalSession::builder()
        .local_dir("base", base)
        .shared_key("bench")
        .build()
}

/// Returns the time of one of a chain of steps: that of the chain without its first.
async fn chain(subject: &Subject, base: &Path, round: usize) -> Outcome<Duration> {
    let step = |state: &State, number: u32| {
        let run = state
            .run(["/bin/true"])
            .env("STEP", &format!("{} {number}", salt(round)));
        run.root()
    };
    let first = step(&State::local("base"), 0);
    subject.solve(&first, session(base)).await?;
    let all = (1..=CHAIN).fold(first, |state, number| step(&state, number));
    Ok(subject.solve(&all, session(base)).await? / CHAIN)
}

/// Returns the time until all lines of a step have arrived; it is an error if some are missing. They
/// are written to a file first: counting takes busybox longer than the lines need to arrive.
async fn log(subject: &Subject, base: &Path, round: usize) -> Outcome<Duration> {
    let count = format!("seq {LINES} >/lines");
    let file = State::local("base").run(["/bin/sh", "-c", &count]).root();
    subject.solve(&file, session(base)).await?;
    let step = file.run(["/bin/cat", "/lines"]).env("ROUND", &salt(round));
    let mut request = BuildRequest::new(Arc::new(session(base)));
    request.definition = Some(step.root().definition());
    let (events, mut received) = mpsc::unbounded_channel();
    let begin = Instant::now();
    let cancel = CancelToken::new();
    let built = subject.client.solve(request, events, &cancel);
    let lines = async {
        let mut lines = 0;
        while let Some(status) = received.recv().await {
            let data = status.logs.iter().flat_map(|log| &log.msg);
            lines += data.filter(|&&byte| byte == b'\n').count();
        }
        lines
    };
    let (built, lines) = tokio::join!(built, lines);
    built?;
    let time = begin.elapsed();
    if lines != LINES {
        return Err(format!("{lines} of {LINES} lines arrived").into());
    }
    Ok(time)
}
