//! Steps that take all they can get: processes, memory, time; they hurt only themselves.

use std::time::Duration;
use std::time::Instant;

use lamina_executor::ExitStatus;
use lamina_types::CancelToken;
use lamina_types::Progress;

use crate::ends::CancelOnOutput;
use crate::ends::processes_with;
use crate::fixture;
use crate::rootless;
use crate::skip;
use crate::status;

/// Starts more processes than a step may have, and says how many there came to be.
const BOMB: &str = "i=0; while [ $i -lt 700 ]; do sleep 1000 & i=$((i+1)); done 2>/dev/null; \
                    echo never";

/// Says whether the processes of steps can be counted here: by the controller of either version.
fn has_controller_of_processes() -> bool {
    let of_two = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    std::path::Path::new("/sys/fs/cgroup/pids").exists()
        || of_two.is_ok_and(|names| names.contains("pids"))
}

/// The step ends itself, and others go on meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn forking_without_end_ends_at_the_limit() {
    if !has_controller_of_processes() {
        return skip::<()>("no controller of processes").unwrap_or_default();
    }
    let Some(world) = fixture() else { return };
    let bomb = world.run(world.shell(BOMB));
    let other = world.run(world.shell("for i in 1 2 3; do sleep 0.1; done; echo fine"));
    let ((finished, stdout, _), (_, fine, _)) = tokio::join!(bomb, other);
    assert_ne!(status(finished), ExitStatus::Code(0));
    assert!(!stdout.contains("never"), "{stdout}");
    assert_eq!(fine, "fine\n");
}

/// The same for a user whose steps have no group: the pid namespace has the limit.
#[test]
fn forking_without_end_ends_for_users_without_groups() {
    for subordinate in [false, true] {
        let Some((stdout, _)) = rootless::shell(subordinate, BOMB) else {
            continue;
        };
        if stdout.contains("never") && !kernel_counts_each_namespace() {
            return skip::<()>("the kernel has one pid_max for all").unwrap_or_default();
        }
        assert!(!stdout.contains("never"), "{stdout}");
        assert!(stdout.contains("Code("), "{stdout}");
    }
}

/// Since 6.14.
fn kernel_counts_each_namespace() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(14))
}

/// A tree of hundreds that ignore signals and leave their group is gone when it is cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_never_exits_is_killed_at_once() {
    let Some(world) = fixture() else { return };
    let marker = format!("89{}", std::process::id());
    let script = format!(
        "trap '' TERM INT HUP QUIT; i=0; while [ $i -lt 200 ]; do setsid sleep {marker} & \
         i=$((i+1)); done; echo go; while :; do :; done"
    );
    let cancel = CancelToken::new();
    let sink = CancelOnOutput(cancel.clone());
    let progress = Progress::new(std::sync::Arc::new(sink));
    let executor = &world.executor;
    let begin = Instant::now();
    let result = executor.run(world.shell(&script), &progress, &cancel).await;
    assert!(result.is_err());
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(processes_with(&marker), 0);
}
