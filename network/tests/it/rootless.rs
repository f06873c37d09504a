//! Root of a user namespace on a network that is not its own, as an ordinary user is.

use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use lamina_network::Mode;
use lamina_network::NetworkOptions;
use lamina_network::Networks;

use crate::world::HOST;
use crate::world::OUTSIDE;
use crate::world::World;
use crate::world::child;
use crate::world::devices;
use crate::world::greet;
use crate::world::is_child;
use crate::world::join;
use crate::world::listen;
use crate::world::skip;
use crate::world::step;

const UNSHARE: &[&str] = &["unshare", "--user", "--map-root-user", "--"];
const PORT: &str = "LAMINA_NETWORK_PORT";
const PROGRAM: &str = "LAMINA_NETWORK_PROGRAM";

fn options(search_path: Vec<PathBuf>) -> NetworkOptions {
    let mut options = NetworkOptions {
        mode: Mode::Auto,
        search_path,
        ..NetworkOptions::default()
    };
    options.cni.config = PathBuf::from("/nowhere");
    options
}

/// Prints what the parent expects.
fn say(text: &str) {
    #[expect(clippy::print_stdout, reason = "tells the parent")]
    {
        println!("said: {text}");
    }
}

fn said(output: &std::process::Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| line.split_once("said: "));
    lines.map(|(_, said)| said.to_owned()).collect()
}

#[test]
fn user_without_programs() {
    if !is_child() {
        return;
    }
    let networks = Networks::start(options(Vec::new())).expect("starts");
    say(networks.label());
    say(&networks.notice().unwrap_or_default());
    say(&join(&networks).namespace().is_none().to_string());
    let options = NetworkOptions {
        mode: Mode::Bridge,
        ..options(Vec::new())
    };
    say(&Networks::start(options).err().expect("refused").to_string());
    let broken = tempfile::tempdir().expect("a directory");
    let program = broken.path().join("pasta");
    std::fs::write(&program, "#!/bin/sh\necho cannot >&2; exit 1\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("executable");
    let networks = Networks::start(self::options(vec![broken.path().to_owned()])).expect("starts");
    say(join(&networks).notice().unwrap_or_default());
    say(join(&networks).notice().unwrap_or_default());
    say(networks.label());
}

#[test]
fn without_programs_the_hosts_network_is_used_and_said() {
    World::run(|_| {
        let output = child(UNSHARE, "rootless::user_without_programs").output();
        let output = output.expect("runs");
        if !output.status.success() && said(&output).is_empty() {
            return skip("no user namespaces").unwrap_or_default();
        }
        let none = "neither pasta nor slirp4netns is installed";
        assert_eq!(
            said(&output),
            [
                "host",
                &format!("steps use the host's network: {none}"),
                "true",
                none,
                "steps use the host's network: pasta: exit status: 1: cannot",
                "",
                "host",
            ],
            "{output:?}"
        );
    });
}

#[test]
fn user_with_a_program() {
    if !is_child() {
        return;
    }
    let directory = std::env::var_os(PROGRAM).expect("a directory");
    let state = tempfile::tempdir().expect("a directory");
    let options = NetworkOptions {
        state_dir: state.path().to_owned(),
        ..options(vec![directory.into()])
    };
    let networks = Networks::start(options).expect("starts");
    let port = std::env::var(PORT)
        .expect("a port")
        .parse()
        .expect("a number");
    let (one, other) = (join(&networks), join(&networks));
    if let Some(notice) = one.notice() {
        return say(notice);
    }
    for network in [&one, &other] {
        assert_eq!(step(network, devices), ["eth0", "lo"]);
        step(network, || greet(OUTSIDE.into(), port)).expect("connected");
    }
    say("connected");
}

#[test]
fn programs_connect_an_ordinary_users_steps() {
    World::run(|world| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
        for name in ["pasta", "slirp4netns"] {
            let places = directories.iter().map(|directory| directory.join(name));
            match places.into_iter().find(|program| program.exists()) {
                Some(program) => connect(world, &program),
                None => skip(&format!("no {name}")).unwrap_or_default(),
            }
        }
    });
}

/// Lets a user with nothing but `program` connect two steps.
fn connect(world: &World, program: &Path) {
    let only = tempfile::tempdir().expect("a directory");
    let name = program.file_name().expect("a name");
    std::os::unix::fs::symlink(program, only.path().join(name)).expect("linked");
    let (listener, port) = world.outside(listen);
    let output = child(UNSHARE, "rootless::user_with_a_program")
        .env(PROGRAM, only.path())
        .env(PORT, port.to_string())
        .stdin(Stdio::null())
        .output()
        .expect("runs");
    assert_eq!(said(&output), ["connected"], "{name:?}: {output:?}");
    for _ in 0..2 {
        assert_eq!(listener.accept().expect("a connection").1.ip(), HOST);
    }
}
