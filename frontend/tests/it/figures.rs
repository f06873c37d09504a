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

/// Converts the file several times, and returns the best time: that of everything that the frontend
/// does itself, since the bridge answers at once.
fn best_of(times: usize, text: &str) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime starts");
    let mut best = Duration::MAX;
    for _ in 0..times {
        let bridge = RecordingBridge::of(text, &[("context:base", "local:base")]);
        let begin = Instant::now();
        let result = runtime.block_on(DockerfileFrontend.build(Arc::new(bridge)));
        best = best.min(begin.elapsed());
        assert!(result.is_ok(), "{:?}", result.err());
    }
    best
}

fn print(what: &str, took: Duration, bound: Duration) {
    let ratio = took.as_secs_f64() / bound.as_secs_f64();
    println!("figure: {what}: {took:.2?} of {bound:.2?}, ratio {ratio:.2}");
}

/// The bridge of the tests loads the definition once more, which is not the frontend's time.
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
