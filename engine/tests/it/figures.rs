//! What an engine with many results may take: time to open, and to collect them all.
//!
//! `scripts/bench store` runs these optimised and prints how much of its bound each takes.

use std::time::Duration;
use std::time::Instant;

use crate::fixture;
use crate::harness::Outcome;
use crate::harness::say;
use crate::many;
use crate::state;

pub(crate) fn opening() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        if let Err(reason) = fixture::engine(dir.path()).await {
            return Outcome::Skipped(reason);
        }
        state::fill(&dir.path().join("root/meta.redb"), 100_000).await;
        let started = Instant::now();
        let engine = fixture::engine(dir.path()).await.expect("opens");
        let took = started.elapsed();
        drop(engine);
        let bound = Duration::from_millis(100);
        print("start with 100,000 records", took, bound);
        Outcome::Passed
    })
}

pub(crate) fn collecting() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match many::of_many_records(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let took = many::collect(&engine).await;
        let bound = Duration::from_millis(500);
        print("collection of 10,000 records", took, bound);
        engine.settle().await;
        Outcome::Passed
    })
}

fn print(what: &str, took: Duration, bound: Duration) {
    let ratio = took.as_secs_f64() / bound.as_secs_f64();
    say(&format!(
        "  figure: {what}: {took:.1?} of {bound:.1?}, ratio {ratio:.2}"
    ));
}
