//! What the frontend may take: time for a long file, and for a build of which everything is cached.
//!
//! `scripts/bench frontend` runs these optimised and prints how much of its bound each takes.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use lamina_frontend::DockerfileFrontend;
use lamina_llb::Frontend;

use crate::bridge::RecordingBridge;

/// Returns a Dockerfile of `count` instructions, the usual ones in the usual proportions.
fn file(count: usize) -> String {
    let kinds = [
        "RUN echo step && make -C /src target",
        "COPY --chown=1:2 src/dir file /dest/",
        "ENV KEY_=value PATH=/opt/bin:$PATH",
        "ARG VERSION=1.2.3",
        "WORKDIR /work/${VERSION%.*}",
        "LABEL org.example.key=\"some value\"",
        "RUN --mount=type=cache,target=/c ls /c",
        "EXPOSE 8080/tcp",
    ];
    let lines = kinds.iter().cycle().take(count - 1);
    lines.fold("FROM base\n".to_owned(), |text, line| text + line + "\n")
}

/// Returns what the kernel says of this process's memory, in bytes; none where it does not.
fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}

/// Converts the file once, and returns the most memory that the process had meanwhile.
fn peak_of(text: &str) -> Option<u64> {
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    best_of(1, text);
    memory("VmHWM:")
}

/// Converts the file several times, and returns the best time: that of everything that the frontend
/// does itself, since the bridge answers at once.
fn best_of(times: usize, text: &str) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime starts");
    let mut best = Duration::MAX;
    for _ in 0..times {
        let mut bridge = RecordingBridge::of(text, &[("context:base", "local:base")]);
        bridge.trusts = true;
        let bridge = Arc::new(bridge);
        let begin = Instant::now();
        let result = runtime.block_on(DockerfileFrontend.build(Arc::clone(&bridge) as _));
        best = best.min(begin.elapsed());
        assert!(result.is_ok(), "{:?}", result.err());
    }
    best
}

fn print(what: &str, took: Duration, bound: Duration) {
    let ratio = took.as_secs_f64() / bound.as_secs_f64();
    println!("figure: {what}: {took:.2?} of {bound:.2?}, ratio {ratio:.2}");
}

#[test]
#[ignore = "a measurement, for scripts/bench frontend"]
fn a_thousand_instructions() {
    let took = best_of(5, &file(1000));
    print("1,000 instructions", took, Duration::from_millis(10));
}

/// What the frontend does does not depend on what is cached.
#[test]
#[ignore = "a measurement, for scripts/bench frontend"]
fn what_a_cached_build_spends() {
    let took = best_of(20, &file(50));
    print("50 instructions", took, Duration::from_millis(5));
}

/// Row FDF-01: what a file of the largest size takes beside its own bytes, of comments, of few
/// instructions, and of as many as there may be.
#[test]
#[ignore = "a measurement, for scripts/bench frontend"]
fn memory_of_ten_megabytes() {
    let Some(before) = memory("VmRSS:") else {
        return println!("skipped: the kernel does not say what memory is in use");
    };
    let lines = format!("RUN {}\n", "x".repeat(60_000)).repeat(170);
    let script = format!("RUN <<E\n{}E\n", "echo step\n".repeat(1_000_000));
    let comments = "# some words about what follows\n".repeat(300_000);
    let settings = "ENV SOME_NAME=".to_owned() + &"x".repeat(80) + "\n";
    for (what, rest) in [
        ("one script", script),
        ("lines of 60,000 bytes", lines),
        ("comments", comments + "USER a\n"),
        ("99,999 instructions", settings.repeat(99_999)),
    ] {
        let text = format!("FROM base\n{rest}");
        drop(rest);
        let Some(peak) = peak_of(&text) else {
            return println!("skipped: the kernel does not reset the peak of memory");
        };
        let (peak, bound) = (peak.saturating_sub(before) >> 20, 512);
        let ratio = peak as f64 / f64::from(bound);
        println!("figure: 10 MB, {what}: {peak} MiB of {bound} MiB, ratio {ratio:.2}");
    }
}
