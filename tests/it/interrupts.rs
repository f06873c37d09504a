//! Builds that are stopped: by Ctrl-C, by SIGTERM and by `kill -9` at random moments.

use std::time::Duration;
use std::time::Instant;

use crate::harness::Lamina;
use crate::harness::User;
use crate::harness::for_every_user;
use crate::harness::signal;
use crate::harness::skip;
use crate::leftovers::processes_with;
use crate::waiting::wait_for_line;
use crate::waiting::wait_until;

/// Moments at which a build is killed; bounded by [`KILL_BUDGET`] as well.
const KILLS: u32 = 100;
const KILL_BUDGET: Duration = Duration::from_secs(60);

#[test]
fn ctrl_c_stops_everything() {
    for_every_user(Lamina::with_base, |user, lamina| {
        // A duration that no other process sleeps, so that ours can be told from theirs.
        let nap = format!("1000{}", std::process::id());
        let long =
            format!("FROM base\nRUN echo begun && sleep {nap} & sleep {nap} & sleep {nap}\n");
        lamina.write("ctx/Dockerfile", long);
        let mut child = Lamina::start(lamina.build_command("ctx", &[]));
        wait_for_line(&mut child, |line| line.ends_with(" begun"));
        let asked = Instant::now();
        signal(&child, "INT");
        let status = child.wait().expect("ends");
        assert_eq!(status.code(), Some(130));
        let took = asked.elapsed();
        println!("{user:?}: stopped in {took:?}");
        assert!(took < Duration::from_secs(10), "took {took:?}");
        assert_eq!(processes_with(&nap), Vec::<u32>::new());
        lamina.assert_clean();
    });
}

#[test]
fn kill_9_loses_nothing_that_was_committed() {
    let lamina = match Lamina::with_base(User::Root) {
        Ok(lamina) => lamina,
        Err(reason) => skip!("{reason}"),
    };
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
    wait_until("the killed builds are gone", || {
        processes_with(&variable).is_empty()
    });
    let next = lamina.build_dir("ctx", &["-o", "out"]).ok();
    assert!(next.cached() >= 1, "nothing was kept:\n{}", next.stderr);
    lamina.assert_clean();
}
