//! Processes in containers: starting one, and bytes through its pipes.

use std::fs;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use lamina_client::BuildRequest;
use lamina_client::Bytes;
use lamina_client::ClientError;
use lamina_client::Container;
use lamina_client::Gateway;
use lamina_client::ProcessEvent;
use lamina_client::llb::State;
use lamina_proto::gateway;
use lamina_proto::gateway::result::Result as Trees;
use lamina_proto::pb;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use tokio::sync::mpsc;

use crate::Outcome;
use crate::subject::Subject;
use crate::table::heading;
use crate::table::row;

const BUSYBOX: &str = "/bin/busybox";
/// Processes that are started one after the other.
const PROCESSES: usize = 200;
/// Bytes that go through a pipe, in pieces.
const MEBIBYTES: usize = 2_048;
const PIECE_BYTES: usize = 512 << 10;

/// What one daemon needs.
struct Figures {
    /// Of a start, to the last message of a process.
    round_trip: Duration,
    /// Bytes in a second.
    input: f64,
    output: f64,
}

/// Starts processes in a container that runs, and moves bytes through them.
pub(crate) async fn containers(subjects: &[Subject]) -> Outcome<()> {
    let mut figures = Vec::new();
    for subject in subjects {
        figures.push(measured(subject).await?);
    }
    let column = |pick: fn(&Figures) -> f64| figures.iter().map(pick).collect::<Vec<_>>();
    heading("processes of a container");
    let time = column(|one| one.round_trip.as_secs_f64() * 1e3);
    row("start to end of true, median", &time, "ms", false);
    row(
        "standard input",
        &column(|one| one.input / 1e6),
        "MB/s",
        true,
    );
    row(
        "standard output",
        &column(|one| one.output / 1e6),
        "MB/s",
        true,
    );
    Ok(())
}

async fn measured(subject: &Subject) -> Outcome<Figures> {
    let mut request = BuildRequest::new(Arc::new(LocalSession::builder().build()));
    request.internal = true;
    let (events, _ignored) = mpsc::unbounded_channel();
    let (tell, mut told) = mpsc::unbounded_channel();
    let drive = |gateway: Gateway| async move {
        let container = container(&gateway).await?;
        let keeps = container.start(init(&["sleep", "1000"])).await?;
        let figures = figures(&container).await?;
        drop((tell.send(figures), keeps));
        container.release().await?;
        Ok(gateway::Result::default())
    };
    let cancel = CancelToken::new();
    let built = subject.client.build(request, drive, events, &cancel);
    built.await?;
    told.recv().await.ok_or_else(|| "no figures".into())
}

async fn container(gateway: &Gateway) -> Result<Container, ClientError> {
    let busybox = fs::read(BUSYBOX).unwrap_or_default();
    let base = State::scratch()
        .mkdir("/bin", 0o755)
        .mkfile(BUSYBOX, 0o755, busybox);
    let solve = gateway::SolveRequest {
        definition: Some(base.definition()),
        ..gateway::SolveRequest::default()
    };
    let id = match gateway.solve(solve).await?.result {
        Some(Trees::Ref(one)) => one.id,
        _ => String::new(),
    };
    let root = pb::Mount {
        dest: "/".to_owned(),
        result_id: id,
        ..pb::Mount::default()
    };
    let request = gateway::NewContainerRequest {
        mounts: vec![root],
        ..gateway::NewContainerRequest::default()
    };
    gateway.new_container(request).await
}

fn init(args: &[&str]) -> gateway::InitMessage {
    let args = [BUSYBOX].iter().chain(args).map(ToString::to_string);
    gateway::InitMessage {
        meta: Some(pb::Meta {
            args: args.collect(),
            ..pb::Meta::default()
        }),
        fds: vec![0, 1, 2],
        ..gateway::InitMessage::default()
    }
}

async fn figures(container: &Container) -> Result<Figures, ClientError> {
    let mut times = Vec::new();
    for _ in 0..PROCESSES {
        let begin = Instant::now();
        container.start(init(&["true"])).await?.wait().await?;
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(Figures {
        round_trip: times[PROCESSES / 2],
        input: input(container).await?,
        output: output(container).await?,
    })
}

async fn input(container: &Container) -> Result<f64, ClientError> {
    let process = container
        .start(init(&["sh", "-c", "cat >/dev/null"]))
        .await?;
    let piece = Bytes::from(vec![7; PIECE_BYTES]);
    let begin = Instant::now();
    let input = process.input();
    for _ in 0..(MEBIBYTES << 20) / PIECE_BYTES {
        input.write(piece.clone()).await;
    }
    input.close().await;
    process.wait().await?;
    Ok(rate(MEBIBYTES << 20, begin))
}

async fn output(container: &Container) -> Result<f64, ClientError> {
    let count = format!("count={MEBIBYTES}");
    let args = ["dd", "if=/dev/zero", "bs=1M", &count];
    let mut process = container.start(init(&args)).await?;
    let begin = Instant::now();
    let mut bytes = 0;
    while let Some(event) = process.next().await? {
        if let ProcessEvent::Output { fd: 1, data } = event {
            bytes += data.len();
        }
    }
    Ok(rate(bytes, begin))
}

fn rate(bytes: usize, begin: Instant) -> f64 {
    bytes as f64 / begin.elapsed().as_secs_f64()
}
