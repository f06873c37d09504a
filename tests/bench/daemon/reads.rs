//! Rates of gateway reads, beside the rate of Ping on the same connection.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream;
use lamina_client::BuildRequest;
use lamina_client::ClientError;
use lamina_client::Gateway;
use lamina_client::llb::State;
use lamina_proto::gateway;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use tokio::sync::mpsc;

use crate::Outcome;
use crate::subject::Subject;
use crate::table::heading;
use crate::table::row;

/// How long each rate is measured.
const WINDOW: Duration = Duration::from_secs(3);
/// Files of the reference that is read.
const FILES: usize = 1_000;
/// Layers of it.
const LAYERS: usize = 5;
/// What the client calls the directory that they come from.
const CONTEXT: &str = "context";

/// What is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Ping,
    ReadFile,
    StatFile,
    ReadDir,
}

/// A rate, and the processor time that the daemon spent on a call.
#[derive(Clone, Copy, Default)]
struct Rate {
    per_second: f64,
    cpu_micros: f64,
}

/// Rates of gateway reads on a reference of five layers and a thousand files.
pub(crate) async fn reads(subjects: &[Subject]) -> Outcome<()> {
    for in_flight in [1, 16] {
        let mut measured = Vec::new();
        for subject in subjects {
            measured.push(measure_reads(subject, in_flight).await?);
        }
        heading(&format!("gateway reads, {in_flight} in flight"));
        let names = ["Ping", "ReadFile", "StatFile", "ReadDir of 200 names"];
        for (index, name) in names.iter().enumerate() {
            let rates: Vec<f64> = measured.iter().map(|all| all[index].per_second).collect();
            row(name, &rates, "/s", true);
        }
        for (index, name) in names.iter().enumerate() {
            let cpu: Vec<f64> = measured.iter().map(|all| all[index].cpu_micros).collect();
            row(&format!("{name}: daemon's CPU a call"), &cpu, "us", false);
        }
        for (index, name) in names.iter().enumerate().skip(1) {
            let share: Vec<f64> = measured
                .iter()
                .map(|all| 100.0 * all[index].per_second / all[0].per_second)
                .collect();
            row(&format!("{name}: share of Ping's rate"), &share, "%", true);
        }
    }
    Ok(())
}

/// Five layers that together hold a thousand small files in five folders, copied from the client's
/// directory.
fn layered() -> State {
    let context = State::local(CONTEXT);
    let copy = |below: State, layer: usize| {
        let folder = format!("/d{layer}");
        below.copy(&context, &folder, &folder)
    };
    (0..LAYERS).fold(State::scratch(), copy)
}

fn write_files(root: &Path) -> Outcome<()> {
    for layer in 0..LAYERS {
        let folder = root.join(format!("d{layer}"));
        fs::create_dir(&folder)?;
        for file in 0..FILES / LAYERS {
            fs::write(
                folder.join(format!("f{file}")),
                format!("content of {file}"),
            )?;
        }
    }
    Ok(())
}

async fn measure_reads(subject: &Subject, in_flight: usize) -> Outcome<Vec<Rate>> {
    let context = tempfile::tempdir()?;
    write_files(context.path())?;
    let session = LocalSession::builder().local_dir(CONTEXT, context.path());
    let request = BuildRequest::new(Arc::new(session.build()));
    let (events, _ignored) = mpsc::unbounded_channel();
    let (rates, received) = tokio::sync::oneshot::channel();
    let drive = |gateway: Gateway| async move {
        let reference = solved(&gateway, &layered()).await?;
        let mut all = Vec::new();
        for call in [Call::Ping, Call::ReadFile, Call::StatFile, Call::ReadDir] {
            all.push(rate(subject, &gateway, &reference, call, in_flight).await?);
        }
        drop(rates.send(all));
        Ok(gateway::Result::default())
    };
    let client = &subject.client;
    client
        .build(request, drive, events, &CancelToken::new())
        .await?;
    Ok(received.await?)
}

/// Solves `state` and returns the id of its reference.
pub(crate) async fn solved(gateway: &Gateway, state: &State) -> Result<String, ClientError> {
    let request = gateway::SolveRequest {
        definition: Some(state.definition()),
        evaluate: true,
        ..gateway::SolveRequest::default()
    };
    Ok(match gateway.solve(request).await?.result {
        Some(gateway::result::Result::Ref(reference)) => reference.id,
        Some(gateway::result::Result::RefDeprecated(id)) => id,
        _ => String::new(),
    })
}

async fn rate(
    subject: &Subject,
    gateway: &Gateway,
    reference: &str,
    call: Call,
    in_flight: usize,
) -> Result<Rate, ClientError> {
    call_once(gateway, reference, call, 0).await?;
    let (begin, cpu) = (Instant::now(), subject.cpu());
    let running = stream::iter(0..)
        .take_while(|_| std::future::ready(begin.elapsed() < WINDOW))
        .map(|number| call_once(gateway, reference, call, number))
        .buffer_unordered(in_flight);
    let counted = running.fold(Ok(0_u32), |sum: Result<u32, ClientError>, next| {
        std::future::ready(sum.and_then(|sum| next.map(|()| sum + 1)))
    });
    let calls = f64::from(counted.await?);
    Ok(Rate {
        per_second: calls / begin.elapsed().as_secs_f64(),
        cpu_micros: (subject.cpu() - cpu).as_secs_f64() * 1e6 / calls,
    })
}

async fn call_once(
    gateway: &Gateway,
    reference: &str,
    call: Call,
    number: usize,
) -> Result<(), ClientError> {
    let folder = format!("/d{}", number % LAYERS);
    let file = format!("{folder}/f{}", number / LAYERS % (FILES / LAYERS));
    match call {
        Call::Ping => gateway.ping().await.map(drop),
        Call::ReadFile => gateway.read_file(reference, &file, None).await.map(drop),
        Call::StatFile => gateway.stat_file(reference, &file).await.map(drop),
        Call::ReadDir => gateway.read_dir(reference, &folder, "").await.map(drop),
    }
}
