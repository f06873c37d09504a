//! What a step must not reach or leave behind.

use lamina_executor::ExitStatus;

use crate::fixture;
use crate::status;

/// One would lead to the host (CVE-2024-21626).
#[tokio::test(flavor = "multi_thread")]
async fn no_descriptor_of_ours_leaks_in() {
    let Some(world) = fixture() else { return };
    let (finished, stdout, _) = world.run(world.shell("exec ls /proc/self/fd")).await;
    assert_eq!(status(finished), ExitStatus::Code(0));
    // The fourth is the directory that ls reads.
    assert_eq!(stdout, "0\n1\n2\n3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_mounted_or_grouped() {
    let Some(world) = fixture() else { return };
    let state = world.state.path().display().to_string();
    for script in ["exit 0", "exit 1"] {
        let (finished, ..) = world.run(world.shell(script)).await;
        drop(finished);
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&state), "{mounts}");
    assert_eq!(
        std::fs::read_dir(world.state.path().join("run/stage"))
            .expect("dir")
            .count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_out_of_sight() {
    let Some(world) = fixture() else { return };
    let script = "ls /proc | grep -E '^[0-9]+$' | wc -l; ls / | grep -c lost; hostname; \
                  ls /proc/1/root/ | wc -l";
    let (_, stdout, stderr) = world.run(world.shell(script)).await;
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(
        lines[0].parse::<u32>().expect("a number") < 8,
        "{stdout} {stderr}"
    );
    assert_eq!(lines[1..3], ["0", "buildkitsandbox"]);
}
