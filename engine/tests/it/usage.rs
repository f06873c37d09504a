//! Disk usage and pruning: rows CTL-06 to CTL-13, CFG-08 and CFG-15.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use lamina_engine::Engine;
use lamina_engine::EngineOptions;
use lamina_engine::GcOptions;
use lamina_engine::GcPolicy;
use lamina_proto::control::DiskUsageRequest;
use lamina_proto::control::PruneRequest;
use lamina_proto::control::UsageRecord;
use lamina_proto::pb;
use lamina_testkit::git::Repositories;
use tokio::sync::mpsc::channel;

use crate::engine::build;
use crate::engine::chain;
use crate::engine::definition;
use crate::engine::request;
use crate::engine::step;
use crate::engine::steps_run;
use crate::fixture;
use crate::harness::Outcome;
use crate::status::Held;

/// Builds a chain of files; returns how many steps are not shown as cached. The first, which has no
/// inputs, never is unless its own result is loaded.
async fn steps(engine: &Engine, length: usize) -> usize {
    let (built, events) = build(engine, request(chain(length, 0))).await;
    built.map(drop).expect("builds");
    engine.settle().await;
    steps_run(&events)
}

async fn usage(engine: &Engine, filter: &str) -> Vec<UsageRecord> {
    let request = DiskUsageRequest {
        filter: vec![filter.to_owned()],
        ..DiskUsageRequest::default()
    };
    engine.disk_usage(&request).await.expect("told")
}

/// Prunes; returns the descriptions of what went.
async fn prune(engine: &Engine, request: &PruneRequest) -> Vec<String> {
    let (removed, mut records) = channel::<UsageRecord>(1);
    let collect = async {
        let mut gone = Vec::new();
        while let Some(record) = records.recv().await {
            gone.push(record.description);
        }
        gone
    };
    let (pruned, gone) = tokio::join!(engine.prune(request, removed), collect);
    pruned.expect("pruned");
    gone
}

pub(crate) fn layers_are_described() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        assert!(usage(&engine, "").await.is_empty());
        assert_eq!(steps(&engine, 2).await, 2);
        assert_eq!(steps(&engine, 2).await, 1, "the second is cached");
        drop(engine);
        let engine = fixture::engine(dir.path()).await.expect("opens again");
        let records = usage(&engine, "").await;
        let by_name: BTreeMap<&str, &UsageRecord> = records
            .iter()
            .map(|record| (record.description.as_str(), record))
            .collect();
        let (first, second) = (by_name["mkfile /0"], by_name["mkfile /1"]);
        assert_eq!(second.parents, std::slice::from_ref(&first.id));
        assert!(first.parents.is_empty());
        for record in [first, second] {
            assert!(record.size > 0 && !record.in_use && !record.mutable && !record.shared);
            assert_eq!(record.record_type, "regular");
            assert!(record.created_at.is_some() && record.last_used_at.is_some());
        }
        assert!(
            second.usage_count > first.usage_count,
            "it was loaded again"
        );
        for (filter, count) in [
            ("type==regular", 2),
            ("type==source.local", 0),
            ("description~=1$", 1),
            ("immutable,private", 2),
            ("mutable", 0),
            ("parents", 1),
        ] {
            assert_eq!(usage(&engine, filter).await.len(), count, "{filter}");
        }
        let recent = DiskUsageRequest {
            age_limit: 3_600_000_000_000,
            ..DiskUsageRequest::default()
        };
        assert!(engine.disk_usage(&recent).await.expect("told").is_empty());
        let negative = DiskUsageRequest {
            age_limit: -1,
            ..DiskUsageRequest::default()
        };
        engine.disk_usage(&negative).await.expect_err("negative");
        Outcome::Passed
    })
}

pub(crate) fn pruning_goes_from_the_top() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        steps(&engine, 3).await;
        let bottom = PruneRequest {
            filter: vec!["description==mkfile /0".to_owned()],
            ..PruneRequest::default()
        };
        assert!(
            prune(&engine, &bottom).await.is_empty(),
            "others are made of it"
        );
        let recent = PruneRequest {
            keep_duration: 3_600_000_000_000,
            ..PruneRequest::default()
        };
        assert!(prune(&engine, &recent).await.is_empty());
        let top = PruneRequest {
            filter: vec!["description==mkfile /2".to_owned()],
            ..PruneRequest::default()
        };
        assert_eq!(prune(&engine, &top).await, ["mkfile /2"]);
        assert_eq!(steps(&engine, 3).await, 2, "what went runs again");
        let gone = prune(&engine, &PruneRequest::default()).await;
        assert_eq!(gone, ["mkfile /2", "mkfile /1", "mkfile /0"]);
        assert!(usage(&engine, "").await.is_empty());
        assert_eq!(steps(&engine, 3).await, 3);
        let bad = PruneRequest {
            filter: vec!["=".to_owned()],
            ..PruneRequest::default()
        };
        let (removed, _records) = channel(1);
        engine.prune(&bad, removed).await.expect_err("no filter");
        Outcome::Passed
    })
}

pub(crate) fn running_builds_keep_theirs() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let held = Held::start(&engine, "held", 2).await;
        let everything = PruneRequest {
            all: true,
            ..PruneRequest::default()
        };
        assert!(prune(&engine, &everything).await.is_empty());
        let in_use = usage(&engine, "inuse").await;
        assert_eq!(in_use.len(), 2, "{in_use:?}");
        held.end().await;
        engine.settle().await;
        assert!(usage(&engine, "inuse").await.is_empty());
        assert_eq!(prune(&engine, &everything).await.len(), 2);
        Outcome::Passed
    })
}

pub(crate) fn limits_are_kept() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        steps(&engine, 4).await;
        let sizes: Vec<i64> = usage(&engine, "").await.iter().map(|r| r.size).collect();
        let total: i64 = sizes.iter().sum();
        let roomy = PruneRequest {
            max_used_space: total + 1,
            ..PruneRequest::default()
        };
        assert!(prune(&engine, &roomy).await.is_empty());
        let tight = PruneRequest {
            max_used_space: total,
            ..PruneRequest::default()
        };
        assert_eq!(prune(&engine, &tight).await, ["mkfile /3"]);
        let reserved = PruneRequest {
            max_used_space: 1,
            reserved_space: total,
            ..PruneRequest::default()
        };
        assert!(prune(&engine, &reserved).await.is_empty());
        Outcome::Passed
    })
}

pub(crate) fn builds_are_collected_after() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let everything = GcPolicy {
            all: true,
            ..GcPolicy::default()
        };
        let options = EngineOptions {
            gc: GcOptions {
                enabled: true,
                policies: vec![everything],
            },
            ..fixture::options(dir.path())
        };
        let engine = match fixture::open(options).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let workers = engine.workers(&[]).expect("no filter");
        assert_eq!(workers[0].gc_policy.len(), 1);
        let (built, _) = build(&engine, request(chain(2, 0))).await;
        built.map(drop).expect("builds");
        let gone = async {
            while !usage(&engine, "").await.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let gone = tokio::time::timeout(Duration::from_secs(20), gone).await;
        gone.expect("collected at once, since it is the first build");
        Outcome::Passed
    })
}

/// What was fetched of a remote takes space beside the checkout, and is fetched again once it is gone.
pub(crate) fn repositories_are_told_and_go() -> Outcome {
    let git = Command::new("git").arg("--version").output();
    if let Err(error) = git {
        return Outcome::Skipped(format!("git: {error}"));
    }
    let all = Repositories::new();
    all.make("a.git", &[("f", "1")]);
    let server = all.serve();
    let remote = format!("http://{}/a.git", server.host());
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        check_out(&engine, &remote).await;
        let records = usage(&engine, "type==source.git.checkout,mutable").await;
        let [record] = &records[..] else {
            panic!("{records:?}");
        };
        assert_eq!(record.description, format!("shared git repo for {remote}"));
        assert!(record.size > 0 && !record.in_use && record.usage_count == 1);
        let checkouts = usage(&engine, "type==source.git.checkout,immutable").await;
        assert_eq!(checkouts.len(), 1, "{checkouts:?}");
        let recent = PruneRequest {
            keep_duration: 3_600_000_000_000,
            ..PruneRequest::default()
        };
        assert!(prune(&engine, &recent).await.is_empty());
        let gone = prune(&engine, &PruneRequest::default()).await;
        assert!(gone.contains(&record.description), "{gone:?}");
        assert!(usage(&engine, "").await.is_empty());
        check_out(&engine, &remote).await;
        assert_eq!(usage(&engine, "mutable").await.len(), 1);
        Outcome::Passed
    })
}

async fn check_out(engine: &Engine, remote: &str) {
    let address = remote.trim_start_matches("http://");
    let source = pb::SourceOp {
        identifier: format!("git://{address}#main"),
        attrs: [("git.fullurl".to_owned(), remote.to_owned())].into(),
    };
    let source = step(pb::op::Op::Source(source), None);
    let (built, _) = build(engine, request(definition(vec![source]))).await;
    built.map(drop).expect("checked out");
    engine.settle().await;
}
