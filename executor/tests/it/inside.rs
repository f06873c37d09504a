//! What a step is given by what its caller asks for (rows EXC-02 to EXC-08, EXC-31, EXC-33).

use std::net::IpAddr;

use lamina_executor::ExitStatus;
use lamina_executor::NetworkMode;
use lamina_executor::SecurityMode;
use lamina_executor::Ulimit;

use crate::fixture;
use crate::status;

/// Supplementary groups are exactly the image's (CVE-2022-2990, CVE-2023-25173).
#[tokio::test(flavor = "multi_thread")]
async fn users_groups_and_homes_come_from_the_image() {
    let Some(world) = fixture() else { return };
    for (user, expected) in [
        ("", "0 0 0 10 /root\n"),
        ("app", "1000 1001 1001 10 /home/app\n"),
        ("1000", "1000 1001 1001 10 /home/app\n"),
        ("4242:17", "4242 17 17 /\n"),
        ("app:wheel", "1000 10 10 /home/app\n"),
    ] {
        let mut spec = world.shell("echo $(id -u) $(id -g) $(id -G) $HOME");
        spec.user = user.to_owned();
        let (finished, stdout, _) = world.run(spec).await;
        assert_eq!(status(finished), ExitStatus::Code(0), "{user}");
        assert_eq!(stdout, expected, "{user}");
    }
}

/// Nothing is inheritable (CVE-2022-27651).
#[tokio::test(flavor = "multi_thread")]
async fn other_users_have_no_capabilities() {
    let Some(world) = fixture() else { return };
    let mut spec = world.shell("grep -E 'Cap|^Uid' /proc/self/status");
    spec.user = "app".to_owned();
    let (_, stdout, _) = world.run(spec).await;
    let none = "0000000000000000";
    let expected = format!(
        "Uid:\t1000\t1000\t1000\t1000\nCapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\n\
         CapBnd:\t00000000a80425fb\nCapAmb:\t{none}\n"
    );
    assert_eq!(stdout, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_working_directory_is_made_for_the_user() {
    let Some(world) = fixture() else { return };
    let mut spec = world.shell("pwd; stat -c '%a %u %g %n' /made /made/here");
    spec.cwd = "/made/here".to_owned();
    spec.user = "app".to_owned();
    let (finished, stdout, _) = world.run(spec).await;
    assert_eq!(status(finished), ExitStatus::Code(0));
    assert_eq!(
        stdout,
        "/made/here\n755 1000 1001 /made\n755 1000 1001 /made/here\n"
    );
}

/// Nothing of the daemon's environment is there (CVE-2021-3602).
#[tokio::test(flavor = "multi_thread")]
async fn environment_names_and_limits_are_as_asked() {
    let Some(world) = fixture() else { return };
    let mut spec =
        world.shell("env | grep -vE '^(SHLVL|PWD)='; hostname; cat /etc/hosts; ulimit -n");
    spec.env = vec!["B=2".to_owned(), "A=x y".to_owned(), "PATH=/bin".to_owned()];
    spec.hostname = "builder".to_owned();
    spec.extra_hosts = vec![("db".to_owned(), IpAddr::from([10, 0, 0, 9]))];
    spec.ulimits = vec![Ulimit {
        name: "nofile".to_owned(),
        soft: 123,
        hard: 456,
    }];
    let (_, stdout, _) = world.run(spec).await;
    let mut lines: Vec<&str> = stdout.lines().collect();
    lines[..4].sort_unstable();
    assert_eq!(
        lines,
        [
            "A=x y",
            "B=2",
            "HOME=/root",
            "PATH=/bin",
            "builder",
            "127.0.0.1\tlocalhost builder",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "10.0.0.9\tdb",
            "123",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_network_only_loopback_is_there() {
    let Some(world) = fixture() else { return };
    let mut spec = world.shell("ls /sys/class/net; ping -c1 -w2 127.0.0.1 >/dev/null && echo up");
    spec.network = NetworkMode::None;
    let (_, stdout, stderr) = world.run(spec).await;
    assert_eq!(stdout, "lo\nup\n", "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unconfined_steps_have_everything() {
    let Some(world) = fixture() else { return };
    let script = "grep -E '^(CapEff|Seccomp):' /proc/self/status; mount -t tmpfs x /tmp && echo \
                  mounted; test -w /proc/sys/kernel/hostname && echo writable";
    let mut spec = world.shell(script);
    spec.security = SecurityMode::Insecure;
    let (_, stdout, stderr) = world.run(spec).await;
    let own = std::fs::read_to_string("/proc/self/status").expect("status");
    let own = own
        .lines()
        .find(|line| line.starts_with("CapEff:"))
        .expect("capabilities");
    assert_eq!(
        stdout,
        format!("{own}\nSeccomp:\t0\nmounted\nwritable\n"),
        "{stderr}"
    );
}
