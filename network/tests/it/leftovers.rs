//! What a killed process leaves, and what the next one makes of it.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Stdio;

use lamina_network::Mode;
use lamina_network::NetworkOptions;

use crate::world::OUTSIDE;
use crate::world::World;
use crate::world::child;
use crate::world::devices;
use crate::world::expect_devices;
use crate::world::forwards;
use crate::world::greet;
use crate::world::ip;
use crate::world::is_child;
use crate::world::join;
use crate::world::listen;
use crate::world::start;
use crate::world::step;

const STATE: &str = "LAMINA_NETWORK_STATE";

/// Is killed by the test below while a step is there.
#[test]
fn process_to_be_killed() {
    if !is_child() {
        return;
    }
    let networks = start(NetworkOptions {
        mode: Mode::Bridge,
        state_dir: std::env::var_os(STATE).expect("a directory").into(),
        ..NetworkOptions::default()
    });
    let network = networks.as_ref().map(join);
    #[expect(clippy::print_stdout, reason = "tells the parent")]
    {
        println!("ready: {}", network.is_some());
    }
    std::thread::park();
}

#[test]
fn a_killed_process_is_swept_after() {
    World::run(|world| {
        let state_dir = world.state.path().join("networks");
        let mut killed = child(&[], "leftovers::process_to_be_killed")
            .env(STATE, &state_dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(killed.stdout.take().expect("piped")).lines();
        let ready = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once("ready: ").map(|(_, ready)| ready == "true"));
        assert!(devices().contains(&"buildkit0".to_owned()) || ready == Some(false));
        killed.kill().expect("killed");
        killed.wait().expect("ended");
        let options = NetworkOptions {
            bridge_name: Some("buildkit0".to_owned()),
            ..world.options(Mode::Bridge)
        };
        let Some(networks) = start(options) else {
            return;
        };
        let (listener, port) = world.outside(listen);
        step(&join(&networks), || greet(OUTSIDE.into(), port)).expect("connected");
        drop((listener, networks));
        expect_devices(&["lo", "up0"]);
        assert!(!forwards("up0"));
    });
}

#[test]
fn all_abandoned_bridges_are_removed_and_no_others() {
    World::run(|world| {
        for (name, alias) in [
            ("buildkit0", "lamina made 10.10.0.0/16"),
            ("buildkit7", "lamina made 10.17.0.0/16"),
            ("br7", "somebody's"),
            ("br8", "lamina uses 10.18.0.0/16"),
        ] {
            ip(&format!("link add {name} type bridge"));
            set_alias(name, alias);
        }
        let Some(networks) = world.bridge() else {
            return;
        };
        assert_eq!(
            networks.description(),
            "a bridge, buildkit0 with 10.10.0.0/16"
        );
        drop(networks);
        expect_devices(&["br7", "br8", "lo", "up0"]);
    });
}

#[test]
fn forwarding_for_a_killed_process_is_ended() {
    World::run(|world| {
        ip("link add br7 type bridge");
        set_alias("br7", "lamina uses 10.17.0.0/16 up0 gone0");
        std::fs::write("/proc/sys/net/ipv4/conf/up0/forwarding", "1").expect("on");
        let Some(networks) = world.bridge() else {
            return;
        };
        assert!(forwards("up0"));
        drop(networks);
        assert!(!forwards("up0"));
        assert!(!ip("link show br7").contains("lamina"));
    });
}

fn set_alias(device: &str, alias: &str) {
    let arguments = ["link", "set", device, "alias", alias];
    let set = std::process::Command::new("ip").args(arguments).status();
    assert!(set.expect("ip runs").success());
}
