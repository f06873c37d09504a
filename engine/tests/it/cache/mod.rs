//! 279 sequences of builds with what BuildKit ran and took from the cache.
//!
//! Compared are what ran (each run prints an id, so it is known whose result is used), the
//! exported trees, and what failed. `cached` flags are counted apart, since a part of them is made
//! by BuildKit's progress stream.

mod better;
mod builds;
mod compare;
mod locals;
mod observe;
mod scenario;
mod transfer;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;

use crate::fixture;
use crate::goldens;
use crate::harness::Outcome;
use crate::harness::say;
use scenario::Scenario;

/// Scenarios that go as in the golden data, or better; raise it with every one that is won.
const REACHED: usize = 279;
const LIMIT: Duration = Duration::from_secs(120);
const AT_ONCE: usize = 4;

/// How one scenario differs from the golden data.
#[derive(Default)]
struct Verdict {
    /// The builds could not be made, or did not end: nothing excuses that.
    broken: Option<String>,
    /// What ran, trees, errors.
    differences: Vec<String>,
    /// Flags of the progress stream.
    flags: Vec<String>,
}

impl Verdict {
    fn broken(reason: String) -> Self {
        Self {
            broken: Some(reason),
            ..Self::default()
        }
    }
}

pub(crate) fn goldens() -> Outcome {
    fixture::block_on(run())
}

async fn run() -> Outcome {
    let busybox = Path::new("/bin/busybox");
    if !busybox.exists() {
        return Outcome::Skipped("no /bin/busybox to make a base of".to_owned());
    }
    let dir = fixture::temporary();
    if let Err(reason) = fixture::engine(dir.path()).await {
        return Outcome::Skipped(reason);
    }
    let base = dir.path().join("base");
    locals::make_base(&base, busybox);
    let wanted = std::env::var("LAMINA_SCENARIO").unwrap_or_default();
    let scenarios: Vec<Scenario> = goldens::read("cache/scenarios.jsonl.zst");
    let all = scenarios.len();
    let verdicts =
        futures_util::stream::iter(scenarios.iter().filter(|s| s.name.contains(&wanted)))
            .map(|scenario| {
                let base = base.clone();
                async move { (scenario, check(scenario, &base).await) }
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
    let passed = report(&verdicts);
    if verdicts.len() == all {
        assert!(
            passed >= REACHED,
            "{passed} scenarios pass, {REACHED} did before"
        );
    }
    Outcome::Passed
}

async fn check(scenario: &Scenario, base: &Path) -> Verdict {
    let dir = fixture::temporary();
    let observed = tokio::time::timeout(LIMIT, builds::run(scenario, dir.path(), base)).await;
    match observed {
        Ok(Ok(observed)) => compare::compare(scenario, &observed),
        Ok(Err(reason)) => Verdict::broken(reason),
        Err(_) => Verdict::broken("hangs".to_owned()),
    }
}

/// Says how it went; returns how many scenarios are as they should be.
fn report(verdicts: &[(&Scenario, Verdict)]) -> usize {
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut better = 0;
    for (scenario, verdict) in verdicts {
        let (passed, all) = groups.entry(&scenario.group).or_default();
        *all += 1;
        if let Some(reason) = &verdict.broken {
            say(&format!("  {}: {reason}", scenario.name));
        } else if verdict.differences.is_empty() {
            *passed += 1;
        } else if let Some(reason) = better::reason(&scenario.name, &verdict.differences) {
            better += 1;
            say(&format!("  {} differs: {reason}", scenario.name));
        } else {
            verdict
                .differences
                .iter()
                .for_each(|d| say(&format!("  {}: {d}", scenario.name)));
        }
    }
    let passed: usize = groups.values().map(|(passed, _)| passed).sum();
    let flags = verdicts
        .iter()
        .filter(|(_, verdict)| !verdict.flags.is_empty())
        .count();
    say(&format!(
        "  {passed} of {} as BuildKit: {groups:?}",
        verdicts.len()
    ));
    say(&format!(
        "  {better} better than BuildKit, {flags} with other cached flags"
    ));
    passed + better
}
