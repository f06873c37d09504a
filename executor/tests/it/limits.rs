//! Limits of single steps, and groups that callers name (row EXC-09).

use std::path::Path;

use lamina_executor::ExecError;
use lamina_executor::ExitStatus;
use lamina_executor::ProcessSpec;
use lamina_executor::Resources;

use crate::Fixture;
use crate::fixture;
use crate::skip;
use crate::status;

/// A world on a machine with controllers of version 1.
fn world() -> Option<Fixture> {
    let world = fixture()?;
    for tree in ["memory", "cpu", "cpuset"] {
        if !Path::new("/sys/fs/cgroup").join(tree).is_dir() {
            return skip(&format!("no {tree} controller of version 1"));
        }
    }
    Some(world)
}

fn limited(world: &Fixture, script: &str, resources: Resources) -> ProcessSpec {
    ProcessSpec {
        resources,
        ..world.shell(script)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_limited_alone() {
    let Some(world) = world() else { return };
    let resources = Resources {
        memory_bytes: 32 << 20,
        cpu_shares: 512,
        cpu_period_us: 50_000,
        cpu_quota_us: 25_000,
        cpus: "0".to_owned(),
        ..Resources::default()
    };
    let script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.shares \
                  cpu/cpu.cfs_period_us cpu/cpu.cfs_quota_us cpuset/cpuset.cpus";
    let spec = limited(&world, script, resources.clone());
    let (finished, stdout, stderr) = world.run(spec).await;
    assert_eq!(status(finished), ExitStatus::Code(0), "{stderr}");
    assert_eq!(stdout, "33554432\n512\n50000\n25000\n0\n");
    let (finished, ..) = world
        .run(limited(&world, "tail /dev/zero", resources))
        .await;
    assert_eq!(status(finished), ExitStatus::OutOfMemory);
    let spec = limited(
        &world,
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes",
        Resources::default(),
    );
    let (_, stdout, _) = world.run(spec).await;
    assert_ne!(
        stdout, "33554432\n",
        "the limits of one step are no other's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_make_no_sense_are_errors() {
    let Some(world) = world() else { return };
    let resources = Resources {
        cpus: "0-99999".to_owned(),
        ..Resources::default()
    };
    let (finished, ..) = world.run(limited(&world, "true", resources)).await;
    let Err(error) = finished else {
        panic!("it ran")
    };
    assert!(matches!(error, ExecError::Limit { .. }), "{error}");
    let words = "cannot limit the step: cpuset.cpus = 0-99999: ";
    assert!(error.to_string().starts_with(words), "{error}");
}
