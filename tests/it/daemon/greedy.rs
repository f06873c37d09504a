//! Steps that take what they can get: each hurts only itself (row CSTA-11, docs/security.md). A full
//! disk is in `engine/tests/it/full_disk.rs`.

use std::sync::Arc;

use lamina_client::BuildRequest;
use lamina_client::Client;
use lamina_client::ClientError;
use lamina_client::TlsFiles;
use lamina_client::llb::State;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use tokio::sync::mpsc;

use super::raw::block_on;
use super::rig::Daemon;
use crate::harness::User;
use crate::harness::base;
use crate::harness::skip;

/// Starts a daemon of root's whose steps have these limits, or says why not.
fn limited(step: &str) -> Result<Daemon, String> {
    let mut daemon = Daemon::prepare(User::Root)?;
    let config = daemon
        .lamina
        .write("buildkitd.toml", format!("[step]\n{step}\n"));
    daemon.launch(&["--config", &config.display().to_string()]);
    Ok(daemon)
}

/// Runs a script as a step, and returns all that it printed, as its client had it.
async fn log_of(daemon: &Daemon, script: &str) -> (Result<(), ClientError>, Vec<u8>) {
    let base = base().expect("checked at the start");
    let session = LocalSession::builder().local_dir("base", base).build();
    let mut request = BuildRequest::new(Arc::new(session));
    let step = State::local("base").run(["/bin/sh", "-c", script]).root();
    request.definition = Some(step.definition());
    let client = Client::connect(&daemon.address(), &TlsFiles::default()).await;
    let client = client.expect("it listens");
    let (events, mut received) = mpsc::unbounded_channel();
    let cancel = CancelToken::new();
    let build = client.solve(request, events, &cancel);
    let read = async {
        let mut log = Vec::new();
        while let Some(status) = received.recv().await {
            log.extend(status.logs.into_iter().flat_map(|log| log.msg));
        }
        log
    };
    let (built, log) = tokio::join!(build, read);
    (built.map(drop), log)
}

#[test]
fn a_million_lines_arrive_complete() {
    let mut daemon = match Daemon::start(User::Root) {
        Ok(daemon) => daemon,
        Err(reason) => skip!("{reason}"),
    };
    let expected: String = (1..=1_000_000).map(|line| format!("{line}\n")).collect();
    block_on(async {
        let before = daemon.memory("VmRSS:");
        let (built, log) = log_of(&daemon, "seq 1000000").await;
        built.expect("built");
        assert!(
            log == expected.as_bytes(),
            "{} of {} bytes",
            log.len(),
            expected.len()
        );
        let grown = daemon.memory("VmHWM:") - before;
        assert!(grown < 64 << 10, "{grown} KiB more memory");
    });
    daemon.stop();
}

/// What would be 10 GB is 100 MB here, and what is kept of it is 1 MB.
#[test]
fn a_log_without_end_is_cut_where_the_file_says() {
    let mut daemon = match limited("logMaxSize = \"1MB\"") {
        Ok(daemon) => daemon,
        Err(reason) => skip!("{reason}"),
    };
    block_on(async {
        let before = daemon.memory("VmRSS:");
        let script = "yes 0123456789abcde | head -c 100000000; echo the end; exit 3";
        let (built, log) = log_of(&daemon, script).await;
        assert!(built.is_err());
        let text = String::from_utf8_lossy(&log);
        let notice = "\n[output clipped, log limit 1MiB reached]\n";
        assert_eq!(text.find(notice), Some(1 << 20));
        assert!(text.ends_with("the end\n"), "the tail is kept");
        assert!(log.len() < (1 << 20) + (300 << 10), "{} bytes", log.len());
        let grown = daemon.memory("VmHWM:") - before;
        assert!(grown < 64 << 10, "{grown} KiB more memory");
    });
    daemon.stop();
    let kept = size(&daemon.lamina.root().join("history"));
    assert!(kept < 3 << 20, "{kept} bytes on disk");
}

/// A step that writes faster than its log is written down waits.
#[test]
fn a_log_without_limits_takes_no_memory() {
    const BYTES: usize = 200_000_000;
    let mut daemon = match limited("logMaxSize = -1") {
        Ok(daemon) => daemon,
        Err(reason) => skip!("{reason}"),
    };
    block_on(async {
        let before = daemon.memory("VmRSS:");
        let script = format!("yes 0123456789abcde | head -c {BYTES}");
        let (built, log) = log_of(&daemon, &script).await;
        built.expect("built");
        assert_eq!(log.len(), BYTES);
        let grown = daemon.memory("VmHWM:") - before;
        println!("{grown} KiB more memory");
        assert!(grown < 64 << 10, "{grown} KiB more memory");
    });
    daemon.stop();
}

fn size(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let one = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => size(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.map(one).sum()
}

/// Other builds go on while one has all the processes that a step may have.
#[test]
fn a_step_that_forks_without_end_hurts_only_itself() {
    let mut daemon = match limited("maxProcesses = 100") {
        Ok(daemon) => daemon,
        Err(reason) => skip!("{reason}"),
    };
    block_on(async {
        let bomb = "i=0; while [ $i -lt 300 ]; do sleep 1000 & i=$((i+1)); done; echo never";
        let other = "for i in 1 2 3 4 5; do sleep 0.1; done; echo fine";
        let ((built, log), (well, fine)) =
            tokio::join!(log_of(&daemon, bomb), log_of(&daemon, other));
        let log = String::from_utf8_lossy(&log);
        if built.is_ok() {
            println!("skipped: nothing counts processes here");
            return;
        }
        assert!(!log.contains("never"), "{log}");
        well.expect("built");
        assert_eq!(fine, b"fine\n");
    });
    daemon.stop();
}
