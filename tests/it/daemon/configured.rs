//! What `buildkitd.toml` does to builds (rows CFG-04, CFG-06, CFG-11).

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use lamina_testkit::docker_registry::DockerRegistry;
use lamina_testkit::docker_registry::Users;
use serde_json::Value;

use super::rig::Daemon;
use crate::harness::Lamina;
use crate::harness::User;
use crate::harness::signal;
use crate::harness::skip;
use crate::leftovers::processes_with;
use crate::waiting::wait_until;

/// Starts a daemon of root's with a file, or says why not.
fn configured(config: &str) -> Result<Daemon, String> {
    let mut daemon = Daemon::prepare(User::Root)?;
    let file = daemon.lamina.write("buildkitd.toml", config);
    daemon.launch(&["--config", &file.display().to_string()]);
    Ok(daemon)
}

/// Leaves the test with the reason if the daemon cannot be had.
macro_rules! configured {
    ($config:expr) => {
        match configured($config) {
            Ok(daemon) => daemon,
            Err(reason) => skip!("{reason}"),
        }
    };
}

#[test]
fn steps_ask_the_name_servers_of_the_file() {
    let mut daemon = configured!(
        r#"
[dns]
nameservers = ["192.0.2.1", "2001:db8::1"]
options = ["edns0", "ndots:3"]
searchDomains = ["a.example", "b.example"]
"#
    );
    // Servers of this machine are of use on the network of the host only.
    for (network, extra) in [("default", &[][..]), ("none", &["--network", "none"])] {
        let mut args = vec!["-o", "out", "--no-cache"];
        args.extend_from_slice(extra);
        let dockerfile = "FROM base\nRUN cat /etc/resolv.conf > /seen\n";
        daemon.lamina_build(dockerfile, &args).ok();
        let seen = daemon.lamina.read("out/seen");
        let mut lines: Vec<&str> = seen.lines().take(4).collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "nameserver 192.0.2.1",
                "nameserver 2001:db8::1",
                "options edns0 ndots:3",
                "search a.example b.example",
            ],
            "{network}: {seen}"
        );
    }
    daemon.stop();
}

#[test]
fn labels_are_shown_and_steps_wait_for_each_other() {
    let mut daemon =
        configured!("[worker.oci]\nmax-parallelism = 1\n[worker.oci.labels]\ncolour = \"blue\"\n");
    let shown = daemon.run(&["debug", "workers", "--format", "json"]).ok();
    let workers: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(workers[0]["labels"]["colour"], "blue", "{workers}");
    // Each step takes the folder for itself; together they would find it taken.
    let step =
        "RUN --mount=type=cache,target=/c mkdir /c/busy && sleep 0.3 && rmdir /c/busy && touch";
    let stages = ["one", "two", "three"];
    let mut dockerfile = String::new();
    for stage in stages {
        dockerfile.push_str(&format!("FROM base AS {stage}\n{step} /{stage}\n"));
    }
    dockerfile.push_str("FROM scratch\n");
    for stage in stages {
        dockerfile.push_str(&format!("COPY --from={stage} /{stage} /\n"));
    }
    daemon.lamina_build(&dockerfile, &["-o", "out"]).ok();
    assert!(daemon.lamina.dir().join("out/three").exists());
    daemon.stop();
}

/// A name for control groups; they are removed with the value.
struct Parent(String);

impl Parent {
    /// Makes the group in each tree that lets it; `None` if none does.
    fn make() -> Option<Self> {
        let parent = Self(format!("lamina-test-{}", std::process::id()));
        let made = parent.places().filter(|dir| fs::create_dir(dir).is_ok());
        let made = made.filter(|dir| dir.join("cgroup.procs").exists()).count();
        (made > 0).then_some(parent)
    }

    /// Version 2 has one tree, version 1 has several.
    fn places(&self) -> impl Iterator<Item = PathBuf> {
        let top = Path::new("/sys/fs/cgroup");
        let trees: Vec<PathBuf> = match top.join("cgroup.procs").exists() {
            true => vec![top.to_owned()],
            false => fs::read_dir(top)
                .into_iter()
                .flatten()
                .flatten()
                .map(|tree| tree.path())
                .collect(),
        };
        trees
            .into_iter()
            .filter(|tree| tree.join("cgroup.procs").exists())
            .map(|tree| tree.join(&self.0))
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for dir in self.places() {
            // There is none in trees that steps have no use for.
            drop(fs::remove_dir(dir.join("buildkit")));
            drop(fs::remove_dir(dir));
        }
    }
}

/// Rows CFG-06 and EXC-09: steps that name no parent are below that of the file.
#[test]
fn steps_are_below_the_parent_of_the_file() {
    let Some(parent) = Parent::make() else {
        skip!("control groups are not writable");
    };
    let config = format!("[worker.oci]\ndefaultCgroupParent = \"{}\"\n", parent.0);
    let mut daemon = configured!(&config);
    // A step sees its own group as the top; the host sees where that is.
    let nap = format!("1{}", std::process::id());
    let dockerfile = format!("FROM base\nRUN exec sleep {nap}\n");
    daemon.lamina.write("ctx/Dockerfile", dockerfile);
    let mut build = Lamina::start(daemon.lamina_build_command(&[]));
    let mut groups = String::new();
    wait_until("the step sleeps", || {
        let step = processes_with(&nap).into_iter().next();
        let read = step.and_then(|step| fs::read_to_string(format!("/proc/{step}/cgroup")).ok());
        groups = read.unwrap_or_default();
        !groups.is_empty()
    });
    signal(&build, "INT");
    build.wait().expect("ends");
    daemon.stop();
    let below = format!(":/{}/buildkit/", parent.0);
    assert!(groups.lines().any(|line| line.contains(&below)), "{groups}");
}

#[test]
fn a_mirror_stands_in_for_the_hub() {
    let publisher = match Daemon::prepare(User::Root) {
        Ok(_) => Lamina::new(User::Root),
        Err(reason) => skip!("{reason}"),
    };
    let registry = match DockerRegistry::try_start(Users::Everyone) {
        Ok(registry) => registry,
        Err(reason) => skip!("{reason}"),
    };
    let name = format!("{}/hub/library/lamina-test:1", registry.host);
    publisher.write("ctx/f", "mirrored");
    publisher
        .build("FROM base\nCOPY f /f\n", &["-t", &name, "--push"])
        .ok();
    let mut daemon = configured!(&format!(
        "[registry.\"docker.io\"]\nmirrors = [\"{}/hub\"]\n",
        registry.host
    ));
    let dockerfile = "FROM lamina-test:1\nRUN cat /f > /g\n";
    daemon.lamina_build(dockerfile, &["-o", "out"]).ok();
    assert_eq!(daemon.lamina.read("out/g"), "mirrored");
    daemon.stop();
}
