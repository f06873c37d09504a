//! Graphs: a thousand small vertices, and a Dockerfile of many steps.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lamina_client::BuildRequest;
use lamina_client::llb::State;
use lamina_session::LocalSession;

use crate::Outcome;
use crate::subject::Subject;
use crate::table::heading;
use crate::table::row;

/// Vertices of the graph.
const VERTICES: usize = 1_000;
/// Steps of the Dockerfile.
const STEPS: usize = 50;

/// A thousand small vertices below one Merge, run and then found in the cache.
pub(crate) async fn graph(subjects: &[Subject]) -> Outcome<()> {
    // Different in each run, so that no daemon knows it.
    let salt = std::process::id();
    let files: Vec<State> = (0..VERTICES)
        .map(|number| State::scratch().mkfile(&format!("/{number}"), 0o644, format!("{salt}")))
        .collect();
    let whole = State::merge(&files);
    heading("a graph of 1,000 vertices");
    for name in ["cold", "all cached"] {
        let mut times = Vec::new();
        for subject in subjects {
            times.push(milliseconds(solved(subject, &whole).await?));
        }
        row(name, &times, "ms", false);
    }
    Ok(())
}

async fn solved(subject: &Subject, state: &State) -> Outcome<Duration> {
    let session = LocalSession::builder().build();
    subject.solve(state, session).await
}

/// A Dockerfile of COPY steps, built and then built again from the same context.
pub(crate) async fn rebuild(subjects: &[Subject]) -> Outcome<()> {
    let context = tempfile::tempdir()?;
    write_context(context.path())?;
    heading("a Dockerfile of 50 steps");
    for name in ["cold", "all cached", "all cached, once more"] {
        let mut times = Vec::new();
        for subject in subjects {
            times.push(milliseconds(built(subject, context.path()).await?));
        }
        row(name, &times, "ms", false);
    }
    Ok(())
}

fn write_context(dir: &Path) -> Outcome<()> {
    let mut text = "FROM scratch\n".to_owned();
    for step in 0..STEPS {
        writeln!(text, "COPY {step} /{step}")?;
        fs::write(
            dir.join(step.to_string()),
            format!("{step} {}", std::process::id()),
        )?;
    }
    Ok(fs::write(dir.join("Dockerfile"), text)?)
}

async fn built(subject: &Subject, dir: &Path) -> Outcome<Duration> {
    let session = LocalSession::builder()
        .local_dir("context", dir)
        .local_dir("dockerfile", dir)
        .shared_key("bench");
    let mut request = BuildRequest::new(Arc::new(session.build()));
    request.frontend = "dockerfile.v0".to_owned();
    request.options = BTreeMap::from([("filename".to_owned(), "Dockerfile".to_owned())]);
    subject.run(request).await
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
