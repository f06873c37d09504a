//! A daemon that is measured.

use std::fs;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use lamina_client::BuildRequest;
use lamina_client::Client;
use lamina_client::TlsFiles;
use lamina_client::llb::State;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use rustix::net::sockopt::socket_peercred;
use tokio::sync::mpsc;

use crate::Outcome;
use crate::table::heading;
use crate::table::row;

/// One daemon.
pub(crate) struct Subject {
    pub(crate) client: Client,
    /// Its process, where the socket tells.
    process: Option<i32>,
}

impl Subject {
    pub(crate) async fn connect(address: &str) -> Outcome<Self> {
        let client = Client::connect(address, &TlsFiles::default()).await?;
        let socket = address.strip_prefix("unix://").map(UnixStream::connect);
        let process = socket
            .and_then(Result::ok)
            .and_then(|socket| socket_peercred(&socket).ok())
            .map(|peer| peer.pid.as_raw_nonzero().get());
        Ok(Self { client, process })
    }

    /// Processor time of the daemon so far.
    pub(crate) fn cpu(&self) -> Duration {
        let text = self.proc_file("stat");
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

    /// Resident memory of the daemon in MiB.
    pub(crate) fn memory(&self) -> f64 {
        let text = self.proc_file("status");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.unwrap_or_default() / 1024.0
    }

    fn proc_file(&self, name: &str) -> String {
        let read = |id| fs::read_to_string(format!("/proc/{id}/{name}")).ok();
        self.process.and_then(read).unwrap_or_default()
    }

    /// Solves a definition and returns how long that took.
    pub(crate) async fn solve(&self, state: &State, session: LocalSession) -> Outcome<Duration> {
        let mut request = BuildRequest::new(Arc::new(session));
        request.definition = Some(state.definition());
        self.run(request).await
    }

    /// Runs a build and returns how long that took.
    pub(crate) async fn run(&self, request: BuildRequest) -> Outcome<Duration> {
        let (events, _ignored) = mpsc::unbounded_channel();
        let begin = Instant::now();
        let cancel = CancelToken::new();
        self.client.solve(request, events, &cancel).await?;
        Ok(begin.elapsed())
    }
}

/// Prints the resident memory of all, a moment after the last call.
pub(crate) async fn memory(subjects: &[Subject], when: &str) {
    tokio::time::sleep(Duration::from_secs(2)).await;
    heading("resident memory");
    let figures: Vec<f64> = subjects.iter().map(Subject::memory).collect();
    row(when, &figures, "MiB", false);
}
