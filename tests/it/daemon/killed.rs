//! A daemon or a build that is killed takes its steps with it, whatever they have become meanwhile.

use std::process::Child;

use super::rig::Daemon;
use crate::harness;
use crate::harness::Lamina;
use crate::harness::User;
use crate::harness::for_every_user;
use crate::leftovers::mounts_of;
use crate::leftovers::processes_with;
use crate::waiting::wait_for_line;
use crate::waiting::wait_until;

/// A step that leaves its group and session, ignores signals, and never ends. `nap` is a time that
/// nobody else sleeps.
fn dockerfile(nap: &str) -> String {
    format!(
        "FROM base\nRUN trap '' TERM INT HUP; (setsid sh -c 'sleep {nap} & sleep {nap}' &); \
         nohup sleep {nap} >/dev/null 2>&1 & echo begun; sleep {nap}\n"
    )
}

fn nap(user: User) -> String {
    format!("77{}{}", std::process::id(), user as u8)
}

/// Waits for the step, kills who runs it, and checks that nothing is left.
#[track_caller]
fn kill(lamina: &Lamina, nap: &str, client: &mut Child, killed: &[u32]) {
    wait_for_line(client, |line| line.ends_with(" begun"));
    wait_until("the step runs", || processes_with(nap).len() >= 3);
    for pid in killed {
        let status = std::process::Command::new("kill")
            .args(["-s", "KILL", &pid.to_string()])
            .status();
        assert!(status.expect("kill runs").success(), "no process {pid}");
    }
    wait_until("its steps are gone", || processes_with(nap).is_empty());
    wait_until("its mounts are gone", || {
        mounts_of(&lamina.root()).is_empty()
    });
}

/// Returns the processes that run the program for a user: one for root, and one in the namespaces of a
/// user with the one that waits for it.
fn family(lamina: &Lamina) -> Vec<u32> {
    let variable = format!("LAMINA_ROOT={}", lamina.root().display());
    processes_with(&variable)
}

#[test]
fn steps_die_with_a_build() {
    for_every_user(Lamina::with_base, |user, lamina| {
        let nap = nap(user);
        lamina.write("ctx/Dockerfile", dockerfile(&nap));
        let mut build = Lamina::start(lamina.build_command("ctx", &[]));
        let id = build.id();
        kill(&lamina, &nap, &mut build, &[id]);
        build.wait().expect("a status");
        wait_until("all of it is gone", || family(&lamina).is_empty());
        lamina.build("FROM base\nRUN true\n", &[]).ok();
        lamina.assert_clean();
    });
}

/// Kills either of a user's two processes.
#[test]
fn steps_die_with_a_daemon() {
    harness::for_every_user(Daemon::start, |user, mut daemon| {
        let nap = nap(user);
        for which in 0.. {
            let family = daemon_processes(&daemon);
            let Some(&victim) = family.get(which) else {
                break;
            };
            println!("{user:?}: kills {victim} of {family:?}");
            daemon.lamina.write("ctx/Dockerfile", dockerfile(&nap));
            let mut client = Lamina::start(daemon.lamina_build_command(&[]));
            kill(&daemon.lamina, &nap, &mut client, &[victim]);
            client.wait().expect("a status");
            wait_until("the daemon is gone", || {
                daemon_processes(&daemon).is_empty()
            });
            daemon.kill();
            daemon.launch(&[]);
        }
        daemon.lamina_build("FROM base\nRUN true\n", &[]).ok();
        daemon.stop();
    });
}

/// Those that serve, not those that steps run in.
fn daemon_processes(daemon: &Daemon) -> Vec<u32> {
    let arguments = processes_with(&daemon.address());
    let is_daemon = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0).any(|word| word == b"daemon")
    };
    arguments.into_iter().filter(is_daemon).collect()
}
