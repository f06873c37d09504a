//! `lamina` as the client of a daemon (rows CLI-01 to CLI-23).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;

use super::rig::Daemon;
use super::rig::daemon_of_root;
use crate::harness::Finished;
use crate::harness::Lamina;
use crate::harness::User;
use crate::harness::program;
use crate::harness::skip;
use crate::waiting::wait_until;

fn text(finished: Finished) -> String {
    String::from_utf8(finished.ok().stdout).expect("text")
}

fn json(finished: Finished) -> Value {
    serde_json::from_str(&text(finished)).expect("JSON")
}

#[test]
fn results_go_where_the_command_line_says() {
    let mut daemon = daemon_of_root!();
    daemon.lamina.write("token", "12345");
    let dockerfile = "FROM base\nRUN --mount=type=secret,id=token \
                      --mount=type=secret,id=word,env=WORD \
                      wc -c < /run/secrets/token > /length && echo -n $WORD > /word\n";
    let build = |output: &str| {
        daemon.lamina.write("ctx/Dockerfile", dockerfile);
        let secrets = [
            "--secret",
            "id=token,src=token",
            "--secret",
            "id=word,env=W",
        ];
        let mut command = daemon.lamina_build_command(&secrets);
        command
            .args(["-o", output, "-t", "app:1"])
            .env("W", "spoken");
        Finished::new(command.output().expect("starts")).ok()
    };
    build("out");
    assert_eq!(daemon.lamina.read("out/length").trim(), "5");
    assert_eq!(daemon.lamina.read("out/word"), "spoken");
    build("type=tar,dest=root.tar");
    build("type=oci,dest=oci.tar");
    build("type=docker,dest=docker.tar");
    let on_stdout = build("type=tar,dest=-").stdout;
    for (archive, file) in [
        (
            fs::read(daemon.lamina.dir().join("root.tar")).expect("written"),
            "length",
        ),
        (
            fs::read(daemon.lamina.dir().join("oci.tar")).expect("written"),
            "index.json",
        ),
        (
            fs::read(daemon.lamina.dir().join("docker.tar")).expect("written"),
            "manifest.json",
        ),
        (on_stdout, "length"),
    ] {
        let mut archive = tar::Archive::new(&archive[..]);
        let found = archive.entries().expect("an archive").any(|entry| {
            let entry = entry.expect("an entry");
            entry.path().expect("a path").as_os_str() == file
        });
        assert!(found, "{file}");
    }
    daemon.stop();
}

#[test]
fn agents_are_forwarded() {
    let daemon = daemon_of_root!();
    let (Some(agent), Some(_)) = (program("ssh-agent"), program("ssh-add")) else {
        skip!("ssh-agent and ssh-add are missing");
    };
    let socket = daemon.lamina.dir().join("agent.sock");
    let mut command = Command::new(agent);
    command
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(Stdio::null());
    let mut agent = command.spawn().expect("the agent starts");
    wait_until("the agent listens", || UnixStream::connect(&socket).is_ok());
    let dockerfile = "FROM base\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK\n";
    let forward = format!("default={}", socket.display());
    let built = daemon.lamina_build(dockerfile, &["--ssh", &forward]);
    agent.kill().expect("killed");
    agent.wait().expect("a status");
    built.ok();
    let required = "FROM base\nRUN --mount=type=ssh,required=true true\n";
    daemon
        .lamina_build(required, &[])
        .fails_with(&["Dockerfile:2", "ssh"]);
}

#[test]
fn a_local_cache_outlives_the_daemon() {
    let mut daemon = daemon_of_root!();
    let dockerfile = "FROM base AS a\nRUN echo slow > /slow\nFROM base\nCOPY --from=a /slow /\n";
    let to = ["--cache-to", "type=local,dest=cache,mode=max"];
    daemon.lamina_build(dockerfile, &to).ok();
    let index = |daemon: &Daemon| -> Value {
        serde_json::from_str(&daemon.lamina.read("cache/index.json")).expect("JSON")
    };
    let first = index(&daemon);
    assert_eq!(
        first["manifests"].as_array().map(Vec::len),
        Some(1),
        "{first}"
    );
    // The tag moves to what is written next.
    let longer = format!("{dockerfile}RUN echo more\n");
    daemon.lamina_build(&longer, &to).ok();
    let second = index(&daemon);
    assert_eq!(
        second["manifests"].as_array().map(Vec::len),
        Some(1),
        "{second}"
    );
    assert_ne!(first, second);
    daemon.stop();
    fs::remove_dir_all(daemon.lamina.root()).expect("the state is gone");
    daemon.launch(&[]);
    let from = ["--cache-from", "type=local,src=cache", "-o", "out"];
    let again = daemon.lamina_build(&longer, &from).ok();
    assert!(again.cached() >= 3, "{}", again.stderr);
    assert!(!again.printed("more"), "{}", again.stderr);
    assert_eq!(daemon.lamina.read("out/slow"), "slow\n");
    daemon.stop();
}

#[test]
fn failures_are_explained_and_have_the_code_of_the_step() {
    let daemon = daemon_of_root!();
    for (dockerfile, code, parts) in [
        (
            "FROM base\nRUN echo before && exit 7\n",
            7,
            &[
                "Dockerfile:2",
                ">>> RUN echo before",
                "before",
                "exit code: 7",
            ][..],
        ),
        (
            "FROM base\nCOPY nothere /x\n",
            1,
            &["Dockerfile:2", ">>> COPY nothere", "nothere"],
        ),
        ("FROM base\nNOPE\n", 1, &["Dockerfile:2", "NOPE"]),
    ] {
        let failed = daemon.lamina_build(dockerfile, &[]);
        failed.fails_with(parts);
        assert_eq!(failed.code, Some(code), "{}", failed.stderr);
        let alone = Lamina::new(User::Root).build(dockerfile, &[]);
        assert_eq!(alone.code, Some(code), "{}", alone.stderr);
        assert_eq!(masked_report(&failed), masked_report(&alone));
    }
}

/// Returns what follows the progress, without what differs from run to run.
fn masked_report(finished: &Finished) -> Vec<String> {
    let lines = finished.stderr.lines();
    let report =
        lines.skip_while(|line| !line.starts_with("------") && !line.starts_with("Dockerfile:"));
    report.map(masked).collect()
}

/// Replaces digests and names of references, and removes times.
fn masked(line: &str) -> String {
    let is_time = |word: &&str| {
        let bare = word.strip_suffix('s').unwrap_or(word);
        bare.contains('.') && bare.parse::<f64>().is_ok()
    };
    let mask = |word: &str| match word.split_once("sha256:") {
        Some((before, _)) => format!("{before}DIGEST"),
        None => word.to_owned(),
    };
    let words = line.split(' ').filter(|word| !is_time(word)).map(mask);
    let line = words.collect::<Vec<_>>().join(" ");
    match line.split_once("of ref ") {
        Some((before, rest)) => {
            let rest = rest.split_once(": ").map_or("", |(_, rest)| rest);
            format!("{before}of ref NAME: {rest}")
        }
        None => line,
    }
}

/// Returns the lines of each step by its name, without what depends on how fast things went: the
/// order of steps that run at once, times, and how often something under way was shown.
fn steps(finished: &Finished) -> BTreeMap<String, BTreeSet<String>> {
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    let mut steps: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let lines = finished.stderr.lines();
    for (number, line) in lines.filter_map(|line| line.split_once(' ')) {
        let line = masked(line);
        let Some(name) = names.get(number) else {
            names.insert(number, line.clone());
            steps.insert(line, BTreeSet::new());
            continue;
        };
        let under_way = ["transferring", "exporting", "sending"];
        let under_way = under_way.iter().any(|verb| line.starts_with(verb));
        if line != *name && (!under_way || line.ends_with(" done")) {
            steps.get_mut(name).expect("named").insert(line);
        }
    }
    steps
}

#[test]
fn progress_is_the_same_with_and_without_a_daemon() {
    let daemon = daemon_of_root!();
    let alone = Lamina::new(User::Root);
    let dockerfile = "FROM base\nARG word=hello\nWORKDIR /w\nCOPY f .\n\
                      RUN echo $word; printf 'no end'\nRUN cat f > /seen\n";
    let args = ["-o", "type=oci,dest=image.tar", "-t", "app:1"];
    for round in ["first", "cached"] {
        for lamina in [&daemon.lamina, &alone] {
            lamina.write("ctx/f", "x");
            // Unlike the base's, which is empty: of two equal ones it is up to chance which is CACHED.
            lamina.write("ctx/.dockerignore", "other\n");
        }
        let with = daemon.lamina_build(dockerfile, &args).ok();
        let without = alone.build(dockerfile, &args).ok();
        let shown = steps(&with);
        assert_eq!(shown, steps(&without), "{round}");
        assert_eq!(shown.len(), 10, "{shown:#?}");
    }
}

#[test]
fn space_is_shown_and_freed_as_asked() {
    let daemon = daemon_of_root!();
    daemon.lamina.write("ctx/f", "x");
    let dockerfile = "FROM base\nCOPY f /f\n\
                      RUN --mount=type=cache,target=/c dd if=/dev/zero of=/c/big bs=1M count=3\n";
    daemon.lamina_build(dockerfile, &[]).ok();
    let kinds = |filter: &[&str]| -> Vec<String> {
        let mut args = vec!["du", "--format", "json"];
        args.extend(filter.iter().flat_map(|filter| ["--filter", filter]));
        let records = json(daemon.run(&args));
        let records = records.as_array().expect("a list").iter();
        let kinds = records.map(|record| record["recordType"].as_str().unwrap_or("?").to_owned());
        kinds.collect()
    };
    assert_eq!(kinds(&["type==exec.cachemount"]), ["exec.cachemount"]);
    assert!(kinds(&[]).iter().any(|kind| kind == "source.local"));
    // Of several filters one must match, of the parts of one all.
    let either = kinds(&["type==exec.cachemount", "type==source.local"]);
    for kind in ["exec.cachemount", "source.local"] {
        assert!(
            either.iter().any(|found| found == kind),
            "{kind}: {either:?}"
        );
    }
    assert_eq!(
        kinds(&["type==exec.cachemount,type==source.local"]),
        [""; 0]
    );
    assert!(text(daemon.run(&["du", "--verbose"])).contains("dd if=/dev/zero"));
    let freed = text(daemon.run(&["prune", "--filter", "type==exec.cachemount"]));
    assert!(freed.contains("Total:") && freed.contains("3.1"), "{freed}");
    assert_eq!(kinds(&["type==exec.cachemount"]), [""; 0]);
    assert!(kinds(&[]).iter().any(|kind| kind == "source.local"));
    // What was just used is kept if asked.
    text(daemon.run(&["prune", "--keep-duration", "24h"]));
    assert!(kinds(&[]).iter().any(|kind| kind == "source.local"));
    text(daemon.run(&["prune", "--all"]));
    assert_eq!(kinds(&[]), [""; 0]);
}

#[test]
fn builds_are_remembered_shown_and_forgotten() {
    let daemon = daemon_of_root!();
    daemon
        .lamina_build("FROM base\nRUN echo said this\n", &[])
        .ok();
    daemon
        .lamina_build("FROM base\nRUN exit 3\n", &[])
        .fails_with(&["exit code: 3"]);
    let builds = json(daemon.run(&["history", "ls", "--format", "json"]));
    assert_eq!(builds[0]["status"], "Error", "{builds}");
    assert_eq!(builds[1]["status"], "Completed", "{builds}");
    let bad = text(daemon.run(&["history", "ls", "--filter", "status==error"]));
    assert_eq!(bad.lines().count(), 2, "{bad}");
    let id = builds[1]["ref"].as_str().expect("a name");
    let logs = daemon.run(&["history", "logs", id]).ok();
    assert!(logs.printed("said this"), "{}", logs.stderr);
    let inspected = text(daemon.run(&["history", "inspect", "^0"]));
    assert!(inspected.contains("exit code: 3"), "{inspected}");
    daemon.run(&["history", "rm", id]).ok();
    let left = text(daemon.run(&["history", "ls"]));
    assert!(!left.contains(id), "{left}");
    daemon.run(&["history", "inspect", id]).fails_with(&[id]);
}

#[test]
fn daemons_and_definitions_are_looked_into() {
    let daemon = daemon_of_root!();
    let info = text(daemon.run(&["debug", "info"]));
    assert!(info.contains(" v"), "{info}");
    let workers = text(daemon.run(&["debug", "workers", "--verbose"]));
    for part in ["linux/amd64", "snapshotter", "overlayfs"] {
        assert!(workers.contains(part), "{part} is not in\n{workers}");
    }
    let none = text(daemon.run(&["debug", "workers", "--filter", "id==nothing"]));
    assert_eq!(none.lines().count(), 1, "{none}");
    let definition = lamina_client::llb::State::scratch()
        .mkfile("/hello", 0o644, "hi")
        .definition();
    let shown = |args: &[&str]| {
        let mut command = daemon.client(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let bytes = prost::Message::encode_to_vec(&definition);
        stdin.write_all(&bytes).expect("written");
        drop(stdin);
        let output = child.wait_with_output().expect("a status");
        text(Finished::new(output))
    };
    assert!(shown(&["debug", "dump-llb"]).contains("hello"));
    assert!(shown(&["debug", "dump-llb", "--dot"]).starts_with("digraph {"));
    // The same definition is built.
    shown(&["solve", "-o", "out"]);
    assert_eq!(daemon.lamina.read("out/hello"), "hi");
}

/// Helpers of clients reach a daemon through the command: what they say goes in and out unchanged.
#[test]
fn another_client_can_go_through_the_command() {
    use std::os::unix::net::UnixListener;
    let mut daemon = daemon_of_root!();
    let door = daemon.lamina.dir().join("door.sock");
    let listener = UnixListener::bind(&door).expect("bound");
    let through = format!("unix://{}", door.display());
    let mut asking = daemon.client(&["debug", "workers", "--addr", &through]);
    asking.stdout(Stdio::piped()).stderr(Stdio::piped());
    let asking = asking.spawn().expect("starts");
    let (stream, _) = listener.accept().expect("a client");
    let copy = stream.try_clone().expect("a descriptor");
    let mut dial = daemon.client(&["dial-stdio"]);
    dial.stdin(std::os::fd::OwnedFd::from(stream));
    dial.stdout(std::os::fd::OwnedFd::from(copy));
    let mut dial = dial.spawn().expect("starts");
    drop(listener);
    // The command keeps its own descriptors until it goes.
    let mut dial_ends = || dial.try_wait().expect("a status").is_some();
    let answer = asking.wait_with_output().expect("a status");
    let shown = text(Finished::new(answer));
    assert!(shown.contains("linux/amd64"), "{shown}");
    wait_until("the command goes with its client", &mut dial_ends);
    daemon.stop();
}
