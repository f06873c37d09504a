//! docker-buildx with its `remote` driver (rows BX-01 to BX-12, ACC-03 to ACC-08).

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use lamina_testkit::docker_registry::DockerRegistry;
use lamina_testkit::docker_registry::Users;
use serde_json::Value;

use super::rig::Daemon;
use super::rig::copy_program;
use super::rig::daemon_of_root;
use super::rig::for_every_user;
use crate::dockerfiles::image;
use crate::harness::Finished;
use crate::harness::program;
use crate::harness::skip;
use crate::main_job::EVERYTHING;
use crate::waiting::wait_until;

fn build_everything(daemon: &Daemon, args: &[&str]) -> Finished {
    daemon.lamina.write("ctx/words/who.txt", "world");
    daemon.lamina.write("token", "12345");
    let mut all = vec!["--secret", "id=token,src=token"];
    all.extend_from_slice(args);
    daemon.build(EVERYTHING, &all).ok()
}

#[test]
fn the_builder_is_shown_as_running() {
    let daemon = daemon_of_root!(buildx);
    let shown = daemon.buildx(&["inspect"]).ok();
    let shown = String::from_utf8(shown.stdout).expect("text");
    for part in ["Status:", "running", "linux/amd64", "snapshotter"] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
}

#[test]
fn a_whole_dockerfile_gives_a_working_tree() {
    for_every_user(|daemon| {
        build_everything(daemon, &["--build-arg", "GREETING=hi", "-o", "out"]);
        let lamina = &daemon.lamina;
        assert_eq!(lamina.read("out/bin/tool"), "#!/bin/sh\necho hi world\n");
        assert_eq!(lamina.read("out/bin/length").trim(), "5");
        assert_eq!(lamina.read("out/etc/note"), "from a heredoc\n");
        assert!(!lamina.dir().join("out/run/secrets").exists(), "a secret");
    });
}

#[test]
fn a_second_build_runs_nothing_and_a_change_runs_what_depends_on_it() {
    for_every_user(|daemon| {
        build_everything(daemon, &[]);
        let again = build_everything(daemon, &[]);
        assert!(again.cached() >= 5, "{}", again.stderr);

        let dockerfile = "FROM base AS one\nRUN echo first\nCOPY a /a\nRUN echo second; cat /a\n\
                          FROM base\nCOPY b /b\nRUN echo third\nCOPY --from=one /a /c\n";
        daemon.lamina.write("ctx/a", "1\n");
        daemon.lamina.write("ctx/b", "1\n");
        daemon.build(dockerfile, &[]).ok();
        daemon.lamina.write("ctx/a", "2\n");
        let changed = daemon.build(dockerfile, &["--target", "one"]).ok();
        assert!(!changed.printed("first"), "{}", changed.stderr);
        assert!(changed.printed("second"), "{}", changed.stderr);
        assert!(changed.printed("2"), "{}", changed.stderr);
    });
}

#[test]
fn archives_are_written_where_the_client_says() {
    for_every_user(|daemon| {
        build_everything(daemon, &["-o", "type=tar,dest=root.tar"]);
        build_everything(
            daemon,
            &[
                "-t",
                "app:1",
                "-o",
                "type=oci,dest=image.tar,compression=zstd",
            ],
        );
        build_everything(
            daemon,
            &["-t", "app:1", "-o", "type=docker,dest=docker.tar"],
        );
        let names = |archive: &str| -> Vec<String> {
            let file = fs::File::open(daemon.lamina.dir().join(archive)).expect("written");
            let mut archive = tar::Archive::new(file);
            let entries = archive.entries().expect("an archive");
            entries
                .map(|entry| {
                    let entry = entry.expect("an entry");
                    entry.path().expect("a path").display().to_string()
                })
                .collect()
        };
        assert!(names("root.tar").iter().any(|name| name == "bin/tool"));
        assert!(names("image.tar").iter().any(|name| name == "index.json"));
        assert!(
            names("docker.tar")
                .iter()
                .any(|name| name == "manifest.json")
        );
    });
}

#[test]
fn failures_show_the_file_and_the_line_and_the_exit_code() {
    let daemon = daemon_of_root!(buildx);
    let dockerfile = "FROM base\nRUN echo before && exit 7\n";
    daemon.build(dockerfile, &[]).fails_with(&[
        "Dockerfile:2",
        ">>> RUN echo before",
        "exit code: 7",
        "before",
    ]);
    daemon
        .build("FROM base\nCOPY --nope=1 a /b\n", &[])
        .fails_with(&["Dockerfile:2", "unknown flag: --nope"]);
    daemon
        .build("FROM base\nCOPY nothere /b\n", &[])
        .fails_with(&["Dockerfile:2", "nothere"]);
    daemon
        .build("FROM base\n", &["--target", "zz"])
        .fails_with(&["zz"]);
}

#[test]
fn images_go_to_a_registry_and_come_back() {
    let daemon = daemon_of_root!(buildx);
    let registry = match DockerRegistry::try_start(Users::Everyone) {
        Ok(registry) => registry,
        Err(reason) => skip!("{reason}"),
    };
    let name = format!("{}/app:1", registry.host);
    build_everything(
        &daemon,
        &["-t", &name, "--push", "--metadata-file", "meta.json"],
    );
    let metadata: Value = serde_json::from_str(&daemon.lamina.read("meta.json")).expect("JSON");
    assert!(
        metadata["containerimage.digest"]
            .as_str()
            .is_some_and(|d| d.starts_with("sha256:")),
        "{metadata}"
    );
    let dockerfile = format!("FROM {name}\nRUN /bin/tool > /said\n");
    daemon.build(&dockerfile, &["-o", "out"]).ok();
    assert_eq!(daemon.lamina.read("out/said"), "hello world\n");
}

#[test]
fn caches_travel_through_the_client() {
    let mut daemon = daemon_of_root!(buildx);
    let dockerfile =
        "FROM base AS a\nRUN echo slow > /slow\nFROM base\nCOPY --from=a /slow /\nRUN echo last\n";
    daemon
        .build(
            dockerfile,
            &["--cache-to", "type=local,dest=cache,mode=max"],
        )
        .ok();
    daemon.stop();
    fs::remove_dir_all(daemon.lamina.root()).expect("the state is gone");
    daemon.launch(&[]);
    let again = daemon
        .build(
            dockerfile,
            &["--cache-from", "type=local,src=cache", "-o", "out"],
        )
        .ok();
    assert!(again.cached() >= 3, "{}", again.stderr);
    assert_eq!(daemon.lamina.read("out/slow"), "slow\n");
}

#[test]
fn layouts_of_the_client_are_bases() {
    let daemon = daemon_of_root!(buildx);
    let base_file = "FROM base\nRUN echo inherited > /mark\n";
    daemon
        .build(base_file, &["-o", "type=oci,dest=base.tar"])
        .ok();
    let dir = daemon.lamina.dir();
    fs::create_dir(dir.join("layout")).expect("a folder");
    let file = fs::File::open(dir.join("base.tar")).expect("written");
    tar::Archive::new(file)
        .unpack(dir.join("layout"))
        .expect("unpacked");
    let index: Value =
        serde_json::from_str(&daemon.lamina.read("layout/index.json")).expect("JSON");
    let digest = index["manifests"][0]["digest"].as_str().expect("a digest");
    let context = format!("imported=oci-layout://layout@{digest}");
    daemon
        .build(
            "FROM imported\nRUN cat /mark > /seen\n",
            &["--build-context", &context, "-o", "out"],
        )
        .ok();
    assert_eq!(daemon.lamina.read("out/seen"), "inherited\n");
}

#[test]
fn bake_builds_two_targets() {
    let daemon = daemon_of_root!(buildx);
    daemon.lamina.write(
        "ctx/Dockerfile",
        "FROM scratch AS one\nCOPY f /one\nFROM scratch AS two\nCOPY f /two\n",
    );
    daemon.lamina.write("ctx/f", "x");
    daemon.lamina.write(
        "docker-bake.hcl",
        r#"
group "default" { targets = ["one", "two"] }
target "one" {
  context = "ctx"
  target = "one"
  output = ["out1"]
}
target "two" {
  context = "ctx"
  target = "two"
  output = ["out2"]
}
"#,
    );
    daemon.buildx(&["bake"]).ok();
    assert_eq!(daemon.lamina.read("out1/one"), "x");
    assert_eq!(daemon.lamina.read("out2/two"), "x");
}

#[test]
fn space_is_shown_and_freed() {
    let daemon = daemon_of_root!(buildx);
    let dockerfile = "FROM base\nRUN dd if=/dev/zero of=/big bs=1M count=5\n";
    daemon.build(dockerfile, &[]).ok();
    let shown = daemon.buildx(&["du", "--verbose"]).ok();
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.contains("dd if=/dev/zero"), "{shown}");
    assert!(shown.contains("5.2"), "{shown}");
    let pruned = daemon.buildx(&["prune", "--force", "--all"]).ok();
    let pruned = String::from_utf8(pruned.stdout).expect("text");
    assert!(pruned.contains("Total:"), "{pruned}");
    let after = daemon.buildx(&["du"]).ok();
    let after = String::from_utf8(after.stdout).expect("text");
    assert!(after.contains("Total:") && after.contains("0B"), "{after}");
    let rebuilt = daemon.build(dockerfile, &[]).ok();
    assert!(rebuilt.printed("5+0 records out"), "{}", rebuilt.stderr);
}

/// An agent that ends with the value.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn steps_reach_the_agent_of_the_client() {
    let daemon = daemon_of_root!(buildx);
    let (Some(agent), Some(add)) = (program("ssh-agent"), program("ssh-add")) else {
        skip!("ssh-agent and ssh-add are missing");
    };
    let socket = daemon.lamina.dir().join("agent.sock");
    let process = Command::new(agent)
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .expect("the agent starts");
    let _agent = Agent(process);
    wait_until("the agent listens", || UnixStream::connect(&socket).is_ok());
    copy_program(&add, &daemon.lamina.dir().join("ctx"));
    let dockerfile = "FROM base\nCOPY . /\n\
                      RUN --mount=type=ssh ssh-add -l > /said; test $? = 1\n";
    let forward = format!("default={}", socket.display());
    daemon
        .build(dockerfile, &["--ssh", &forward, "-o", "out"])
        .ok();
    assert_eq!(
        daemon.lamina.read("out/said").trim(),
        "The agent has no identities."
    );
    daemon
        .build("FROM base\nRUN --mount=type=ssh,required=true true\n", &[])
        .fails_with(&["Dockerfile:2", "ssh", "default"]);
}

/// Dockerfiles whose images are compared by their ids: together they have every instruction.
const COMPARED: [&str; 6] = [
    EVERYTHING,
    "FROM scratch\nCOPY . /\nENV A=1 B=\"2 3\"\nLABEL a.b=c\nEXPOSE 80/udp 81\nVOLUME /v\nUSER 1:2\n\
     STOPSIGNAL SIGINT\nHEALTHCHECK --interval=3s CMD true\nSHELL [\"/x\", \"-c\"]\nCMD a b\n\
     ENTRYPOINT [\"e\"]\nONBUILD RUN x\n",
    "ARG V=1\nFROM base AS one\nARG V\nWORKDIR /w\nRUN echo $V > v\nFROM base\n\
     COPY --link --from=one --chmod=640 /w /w/\nADD --chown=3:4 words/who.txt /x/\n",
    "FROM base AS one\nONBUILD RUN echo 1 > /o\nFROM one\nCOPY --parents --exclude=*.md words /p/\n",
    "FROM base\nRUN <<E\n#!/bin/sh\necho script > /s\nE\nCOPY <<a <<b /d/\n1\na\n2\nb\n",
    "FROM base\nRUN --mount=type=cache,target=/c --mount=target=/m cp /m/words/who.txt /out\n",
];

/// Rows ACC-03 and ACC-06: who asks for a build does not decide what it gives.
#[test]
fn images_have_the_ids_that_they_have_with_lamina_build() {
    let daemon = daemon_of_root!(buildx);
    daemon.lamina.write("ctx/words/who.txt", "world");
    daemon.lamina.write("token", "12345");
    for dockerfile in COMPARED {
        let id_of = |name: &str, build: &dyn Fn(&[&str]) -> Finished| {
            let output = format!("type=oci,dest={name}");
            let epoch = "SOURCE_DATE_EPOCH=1000000000";
            let secret = "id=token,src=token";
            build(&["--build-arg", epoch, "--secret", secret, "-o", &output]).ok();
            image(&daemon.lamina.dir().join(name)).id
        };
        let theirs = id_of("theirs.tar", &|args| daemon.build(dockerfile, args));
        let ours = id_of("ours.tar", &|args| daemon.lamina_build(dockerfile, args));
        assert_eq!(theirs, ours, "{dockerfile}");
    }
}
