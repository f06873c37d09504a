//! Measures daemons over their socket, with one client: gateway reads, uploads, graphs.
//!
//! ```text
//! daemon-bench [CASE..] -- ADDRESS [PEER]
//! ```
//! Both addresses are those of daemons that speak BuildKit's API; each figure of the second is
//! printed beside the first, with the ratio. Cases: reads, upload, graph. `scripts/bench` starts the
//! daemons.
#![expect(clippy::print_stdout, reason = "figures are for the terminal")]

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream;
use lamina_client::BuildRequest;
use lamina_client::Client;
use lamina_client::ClientError;
use lamina_client::Gateway;
use lamina_client::TlsFiles;
use lamina_client::llb::State;
use lamina_proto::gateway;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use rustix::net::sockopt::socket_peercred;
use tokio::sync::mpsc;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How long each rate is measured.
const WINDOW: Duration = Duration::from_secs(3);
/// Files of the reference that is read.
const FILES: usize = 1_000;
/// Layers of it.
const LAYERS: usize = 5;
/// Vertices of the graph.
const VERTICES: usize = 1_000;
/// Folders of the small context, and files in each.
const CONTEXT: (usize, usize) = (1_000, 50);
/// Size of the large file.
const LARGE_BYTES: usize = 1 << 30;

/// One daemon.
struct Subject {
    client: Client,
    /// Its process, where the socket tells.
    process: Option<i32>,
}

/// What is called in the reads case.
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

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let at = arguments.iter().position(|argument| argument == "--");
    let (cases, addresses) = arguments.split_at(at.unwrap_or(0));
    let addresses: Vec<&String> = addresses.iter().filter(|text| *text != "--").collect();
    let mut subjects = Vec::new();
    for address in addresses {
        subjects.push(Subject::connect(address).await?);
    }
    let wanted = |case: &str| cases.is_empty() || cases.iter().any(|name| name == case);
    if wanted("reads") {
        reads(&subjects).await?;
    }
    if wanted("graph") {
        graph(&subjects).await?;
    }
    if wanted("upload") {
        upload(&subjects).await?;
    }
    Ok(())
}

impl Subject {
    async fn connect(address: &str) -> Outcome<Self> {
        let client = Client::connect(address, &TlsFiles::default()).await?;
        let socket = address.strip_prefix("unix://").map(UnixStream::connect);
        let process = socket
            .and_then(Result::ok)
            .and_then(|socket| socket_peercred(&socket).ok())
            .map(|peer| peer.pid.as_raw_nonzero().get());
        Ok(Self { client, process })
    }

    /// Processor time of the daemon so far.
    fn cpu(&self) -> Duration {
        let text = self
            .process
            .and_then(|id| fs::read_to_string(format!("/proc/{id}/stat")).ok())
            .unwrap_or_default();
        let fields: Vec<&str> = text
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |index: usize| fields.get(index).and_then(|t| t.parse::<u64>().ok());
        // User and system time, in hundredths of a second.
        Duration::from_millis((ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0)) * 10)
    }

    /// Solves a definition and returns how long that took.
    async fn solve(&self, state: &State, session: LocalSession) -> Outcome<Duration> {
        let mut request = BuildRequest::new(Arc::new(session));
        request.definition = Some(state.definition());
        let (events, _ignored) = mpsc::unbounded_channel();
        let begin = Instant::now();
        self.client
            .solve(request, events, &CancelToken::new())
            .await?;
        Ok(begin.elapsed())
    }
}

fn heading(text: &str) {
    println!(
        "\n{text:<44} {:>12} {:>12} {:>8}",
        "daemon", "peer", "ratio"
    );
}

/// Prints a figure of each daemon; the ratio says how many times better the first is.
fn row(name: &str, figures: &[f64], unit: &str, more_is_better: bool) {
    let cell = |index: usize| match figures.get(index) {
        Some(figure) => format!("{figure:.1} {unit}"),
        None => "-".to_owned(),
    };
    let ratio = match figures {
        [ours, theirs] if more_is_better => format!("{:.2}x", ours / theirs),
        [ours, theirs] => format!("{:.2}x", theirs / ours),
        _ => "-".to_owned(),
    };
    println!("{name:<44} {:>12} {:>12} {ratio:>8}", cell(0), cell(1));
}

/// Rates of gateway reads on a reference of five layers and a thousand files.
async fn reads(subjects: &[Subject]) -> Outcome<()> {
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

/// Five layers that together hold a thousand small files in five folders.
fn layered() -> State {
    let mut state = State::scratch();
    for layer in 0..LAYERS {
        state = state.mkdir(&format!("/d{layer}"), 0o755);
        for file in 0..FILES / LAYERS {
            let path = format!("/d{layer}/f{file}");
            state = state.mkfile(&path, 0o644, format!("content of {path}"));
        }
    }
    state
}

async fn measure_reads(subject: &Subject, in_flight: usize) -> Outcome<Vec<Rate>> {
    let request = BuildRequest::new(Arc::new(LocalSession::builder().build()));
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
async fn solved(gateway: &Gateway, state: &State) -> Result<String, ClientError> {
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

/// A thousand small vertices below one Merge, run and then found in the cache.
async fn graph(subjects: &[Subject]) -> Outcome<()> {
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
            let session = LocalSession::builder().build();
            times.push(subject.solve(&whole, session).await?.as_secs_f64() * 1e3);
        }
        row(name, &times, "ms", false);
    }
    Ok(())
}

/// Contexts: many small files, cold and unchanged, and one large file.
async fn upload(subjects: &[Subject]) -> Outcome<()> {
    let place = Path::new("/dev/shm");
    let place = if place.is_dir() {
        place
    } else {
        Path::new("/tmp")
    };
    let small = tempfile::tempdir_in(place)?;
    let large = tempfile::tempdir_in(place)?;
    write_small_files(small.path())?;
    write_large_file(&large.path().join("large"))?;
    heading("context upload");
    for (name, dir) in [
        ("50,000 small files, cold", small.path()),
        ("50,000 small files, unchanged", small.path()),
        ("one file of 1 GiB, cold", large.path()),
        ("one file of 1 GiB, unchanged", large.path()),
    ] {
        let mut times = Vec::new();
        for subject in subjects {
            times.push(send(subject, dir).await?.as_secs_f64() * 1e3);
        }
        row(name, &times, "ms", false);
    }
    Ok(())
}

/// Lets the daemon fetch `dir`, as any build does with its context.
async fn send(subject: &Subject, dir: &Path) -> Outcome<Duration> {
    let key = dir.display().to_string();
    // Another vertex in each build, as clients make it, so that only the transfer is incremental.
    let unique = format!("{key} {:?}", Instant::now());
    let attrs = [
        ("local.sharedkeyhint", key.as_str()),
        ("local.unique", &unique),
    ];
    let context = State::source("local://context", &attrs, None);
    let session = LocalSession::builder()
        .local_dir("context", dir)
        .shared_key("bench")
        .build();
    subject.solve(&context, session).await
}

fn write_small_files(root: &Path) -> Outcome<()> {
    let block = noise(8 << 10);
    for folder in 0..CONTEXT.0 {
        let folder_path = root.join(folder.to_string());
        fs::create_dir(&folder_path)?;
        for file in 0..CONTEXT.1 {
            let size = 200 + (folder * CONTEXT.1 + file) % 7_800;
            fs::write(folder_path.join(file.to_string()), &block[..size])?;
        }
    }
    Ok(())
}

fn write_large_file(path: &Path) -> Outcome<()> {
    let block = noise(1 << 20);
    let mut file = fs::File::create(path)?;
    for _ in 0..LARGE_BYTES / block.len() {
        file.write_all(&block)?;
    }
    Ok(())
}

/// Bytes that do not compress; the same in each run.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(count).collect()
}
