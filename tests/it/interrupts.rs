//! Builds that are stopped: by Ctrl-C, by SIGTERM and by `kill -9` at random moments.

use std::io::BufRead as _;
use std::io::BufReader;
use std::process::Child;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use crate::harness::Lamina;
use crate::harness::User;
use crate::harness::base;
use crate::harness::may_act_as;
use crate::harness::processes_with;
use crate::harness::skip;

/// Moments at which a build is killed; bounded by [`KILL_BUDGET`] as well.
const KILLS: u32 = 100;
const KILL_BUDGET: Duration = Duration::from_secs(60);

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

fn wait_for_line(child: &mut Child, text: &str) {
    let stderr = child.stderr.take().expect("a pipe");
    let mut lines = BufReader::new(stderr).lines();
    let found = lines.any(|line| line.is_ok_and(|line| line.contains(text)));
    assert!(found, "the build never printed {text:?}");
    // Keep reading, so that the build is never blocked by a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
}

#[test]
fn ctrl_c_stops_everything() {
    for user in [User::Root, User::SingleId, User::Subordinate] {
        if let Err(reason) = may_act_as(user).and_then(|()| base().map(drop)) {
            println!("skipped: {user:?}: {reason}");
            continue;
        }
        let lamina = Lamina::new(user);
        // A duration that no other process sleeps, so that ours can be told from theirs.
        let nap = format!("1000{}", std::process::id());
        let long =
            format!("FROM base\nRUN echo begun && sleep {nap} & sleep {nap} & sleep {nap}\n");
        lamina.write("ctx/Dockerfile", long);
        let mut child = Lamina::start(lamina.build_command("ctx", &[]));
        wait_for_line(&mut child, " begun");
        let asked = Instant::now();
        signal(&child, "INT");
        let status = child.wait().expect("ends");
        assert_eq!(status.code(), Some(130));
        println!("{user:?}: stopped in {:?}", asked.elapsed());
        assert!(
            asked.elapsed() < Duration::from_secs(10),
            "took {:?}",
            asked.elapsed()
        );
        assert_eq!(processes_with(&nap), Vec::<u32>::new());
        lamina.assert_clean();
    }
}

#[test]
fn kill_9_loses_nothing_that_was_committed() {
    if let Err(reason) = may_act_as(User::Root).and_then(|()| base().map(drop)) {
        skip!("{reason}");
    }
    let lamina = Lamina::new(User::Root);
    let begun = Instant::now();
    let mut seed = u64::from(std::process::id()) << 16 | 1;
    println!("seed {seed}");
    let mut kills = 0;
    for round in 0..KILLS {
        if begun.elapsed() > KILL_BUDGET {
            break;
        }
        let dockerfile = format!(
            "FROM base\nRUN echo kept\nRUN echo {round} > /r && dd if=/dev/zero of=/z bs=64k count=16\n\
             RUN cp -r /bin /copy{round}\nCOPY Dockerfile /d\n"
        );
        lamina.write("ctx/Dockerfile", dockerfile);
        let mut child = Lamina::start(lamina.build_command("ctx", &["-o", "type=tar,dest=t.tar"]));
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        std::thread::sleep(Duration::from_millis(seed % 400));
        signal(&child, "KILL");
        child.wait().expect("ends");
        kills += 1;
    }
    println!("{kills} builds were killed");
    let variable = format!("LAMINA_ROOT={}", lamina.root().display());
    let patience = Instant::now();
    while !processes_with(&variable).is_empty() && patience.elapsed() < Duration::from_secs(5) {
        std::thread::yield_now();
    }
    let next = lamina.build_dir("ctx", &["-o", "out"]).ok();
    assert!(next.cached() >= 1, "nothing was kept:\n{}", next.stderr);
    lamina.assert_clean();
}
