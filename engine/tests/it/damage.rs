//! State that was lost or damaged: what can be is found again, the rest is made again.

use std::fs;
use std::path::Path;

use lamina_engine::Engine;
use lamina_proto::control::DiskUsageRequest;
use lamina_proto::control::UsageRecord;
use lamina_types::CancelToken;

use crate::engine::build;
use crate::engine::chain;
use crate::engine::request;
use crate::engine::steps_run;
use crate::fixture;
use crate::harness::Outcome;

const STEPS: usize = 5;

const DAMAGES: u64 = 100;

/// Builds the chain; returns how many steps ran or began the graph (see [`steps_run`]).
async fn steps(engine: &Engine) -> usize {
    let (built, events) = build(engine, request(chain(STEPS, 0))).await;
    built.map(drop).expect("builds");
    engine.settle().await;
    steps_run(&events)
}

async fn usage(engine: &Engine) -> Vec<UsageRecord> {
    let records = engine.disk_usage(&DiskUsageRequest::default()).await;
    records.expect("told")
}

/// Has an engine build the chain and end; returns what it keeps, `Err` = why there can be none.
async fn built(dir: &Path) -> Result<Vec<UsageRecord>, String> {
    let engine = fixture::engine(dir).await?;
    steps(&engine).await;
    Ok(usage(&engine).await)
}

pub(crate) fn layers_are_known_without_the_database() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let before = match built(dir.path()).await {
            Ok(records) => records,
            Err(reason) => return Outcome::Skipped(reason),
        };
        assert_eq!(before.len(), STEPS);
        fs::remove_file(dir.path().join("root/meta.redb")).expect("removed");
        let engine = fixture::engine(dir.path()).await.expect("opens");
        let facts = |records: &[UsageRecord]| -> Vec<_> {
            let fact = |record: &UsageRecord| {
                let made = record.created_at;
                (
                    record.id.clone(),
                    record.description.clone(),
                    record.size,
                    made,
                )
            };
            records.iter().map(fact).collect()
        };
        assert_eq!(facts(&usage(&engine).await), facts(&before));
        assert_eq!(steps(&engine).await, STEPS, "results are forgotten");
        assert_eq!(usage(&engine).await.len(), 2 * STEPS);
        Outcome::Passed
    })
}

/// Bytes anywhere in the database are wrong: whatever it says then, nothing panics or gives a wrong
/// tree, and builds go on.
pub(crate) fn a_damaged_database_costs_no_more_than_the_cache() -> Outcome {
    let dir = fixture::temporary();
    let path = dir.path().join("root/meta.redb");
    let whole = fixture::block_on(async {
        built(dir.path()).await?;
        Ok(fs::read(&path).expect("is there"))
    });
    let whole = match whole {
        Ok(whole) => whole,
        Err(reason) => return Outcome::Skipped(reason),
    };
    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut random = 0x5eed_u64;
    for damage in 0..DAMAGES {
        let mut bytes = whole.clone();
        for _ in 0..=damage % 20 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Most of the file is zeros that nothing looks at.
            let place = usize::try_from(random >> 20).expect("64 bits") % used.len();
            bytes[used[place]] ^= 0xff;
        }
        if damage % 10 == 9 {
            bytes.truncate(bytes.len() / 2);
        }
        fs::write(&path, bytes).expect("written");
        fixture::block_on(async {
            let engine = fixture::engine(dir.path()).await.expect("opens");
            assert!(steps(&engine).await <= STEPS, "damage {damage}");
        });
    }
    Outcome::Passed
}

/// Damage that only a look at all files finds.
pub(crate) fn layers_are_checked_on_demand() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let before = match built(dir.path()).await {
            Ok(records) => records,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let root = dir.path().join("root/layers").join(&before[3].id);
        fs::write(root.join("fs/unexpected"), "").expect("written");
        let engine = fixture::engine(dir.path()).await.expect("opens");
        let checked = engine.check_layers(&CancelToken::new()).await;
        let checked = checked.expect("checked");
        let damaged = checked.damaged.iter().map(|layer| layer.id.to_string());
        assert_eq!(damaged.collect::<Vec<_>>(), [before[3].id.clone()]);
        assert_eq!(checked.sound, STEPS - 1);
        assert!(steps(&engine).await > 1, "the step runs again");
        // So does the one on top of it, whose layer nobody needs now.
        assert_eq!(usage(&engine).await.len(), STEPS + 1);
        let again = engine.check_layers(&CancelToken::new()).await;
        assert_eq!(again.expect("checked").damaged, []);
        Outcome::Passed
    })
}

pub(crate) fn damaged_layers_are_made_again() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let before = match built(dir.path()).await {
            Ok(records) => records,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let folder = |record: &UsageRecord| dir.path().join("root/layers").join(&record.id);
        // Between two processes.
        fs::write(folder(&before[3]).join("manifest"), "{").expect("written");
        fs::remove_dir_all(folder(&before[4]).join("fs")).expect("removed");
        let engine = fixture::engine(dir.path()).await.expect("opens");
        assert_eq!(usage(&engine).await.len(), STEPS - 2);
        assert_eq!(
            steps(&engine).await,
            3,
            "two steps, and the first is not shown as cached"
        );
        assert_eq!(steps(&engine).await, 1);
        // While one runs.
        let after = usage(&engine).await;
        fs::remove_dir_all(folder(&after[4]).join("fs")).expect("removed");
        assert_eq!(steps(&engine).await, 2, "the last step");
        fs::remove_dir_all(folder(&after[0])).expect("removed");
        assert_eq!(steps(&engine).await, STEPS, "all are made of the first");
        assert_eq!(usage(&engine).await.len(), 2 * STEPS - 1);
        Outcome::Passed
    })
}
