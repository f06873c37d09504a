//! Steps on a bridge of our own.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::sync::Arc;

use lamina_network::Mode;
use lamina_network::NetworkOptions;
use lamina_network::Networks;
use tokio::task::JoinSet;

use crate::world::HOST;
use crate::world::OUTSIDE;
use crate::world::World;
use crate::world::devices;
use crate::world::expect_devices;
use crate::world::expect_nobody_reaches_a_step;
use crate::world::forwards;
use crate::world::greet;
use crate::world::inside;
use crate::world::ip;
use crate::world::is_unreachable;
use crate::world::join;
use crate::world::listen;
use crate::world::own_address;
use crate::world::start;
use crate::world::step;
use crate::world::wait;

/// Row EXC-29: outbound access, under the host's address, which alone the outside has a way to.
#[test]
fn steps_reach_the_outside_under_the_hosts_address() {
    World::run(|world| {
        let Some(networks) = world.bridge() else {
            return;
        };
        let (listener, port) = world.outside(listen);
        for _ in 0..2 {
            let network = join(&networks);
            step(&network, || greet(OUTSIDE.into(), port)).expect("connected");
            let (_, peer) = listener.accept().expect("a connection");
            assert_eq!(peer.ip(), HOST);
        }
        assert_eq!(networks.label(), "cni");
        assert_eq!(
            networks.description(),
            "a bridge, buildkit0 with 10.10.0.0/16"
        );
    });
}

#[test]
fn a_step_has_two_interfaces_and_loopback_to_itself() {
    World::run(|world| {
        let Some(networks) = world.bridge() else {
            return;
        };
        let (one, other) = (join(&networks), join(&networks));
        for network in [&one, &other] {
            assert_eq!(step(network, devices), ["eth0", "lo"]);
            let routes = step(network, || ip("-4 route show default"));
            assert!(
                routes.starts_with("default via 10.10.0.1 dev eth0"),
                "{routes}"
            );
        }
        let address = (Ipv4Addr::LOCALHOST, 4711);
        let listener = step(&one, || TcpListener::bind(address)).expect("free");
        step(&one, || greet(Ipv4Addr::LOCALHOST.into(), 4711)).expect("its own");
        assert!(step(&other, || is_unreachable(
            Ipv4Addr::LOCALHOST.into(),
            4711
        )));
        assert!(is_unreachable(Ipv4Addr::LOCALHOST.into(), 4711));
        drop(listener);
    });
}

#[test]
fn nobody_reaches_a_step() {
    World::run(|world| {
        let Some(networks) = world.bridge() else {
            return;
        };
        expect_nobody_reaches_a_step(
            (world, &networks),
            (own_address, Ipv4Addr::UNSPECIFIED.into()),
            &format!("route add 10.10.0.0/16 via {HOST}"),
        );
    });
}

/// Where nothing was passed on before, nothing is but what steps ask for.
#[test]
fn the_host_does_not_become_a_router() {
    World::run(|world| {
        ip("link add up7 type veth peer name up8");
        ip("address add 198.51.100.1/24 dev up7");
        ip("link set up7 up");
        assert!(!forwards("up0") && !forwards("up7"));
        let Some(networks) = world.bridge() else {
            return;
        };
        assert!(forwards("up0") && !forwards("up7"));
        assert_eq!(
            std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("a setting"),
            "0\n"
        );
        drop(networks);
        assert!(!forwards("up0"));
    });
}

#[test]
fn fifty_steps_at_once_have_fifty_addresses() {
    World::run(|world| {
        let Some(networks) = world.bridge() else {
            return;
        };
        let networks = Arc::new(networks);
        let steps = wait(async {
            let mut joins = JoinSet::new();
            for _ in 0..50 {
                let networks = Arc::clone(&networks);
                joins.spawn(async move { networks.join("").await.expect("a network") });
            }
            joins.join_all().await
        });
        let addresses: BTreeSet<IpAddr> = steps.iter().map(|one| step(one, own_address)).collect();
        assert_eq!(addresses.len(), 50);
        drop(steps);
        drop(networks);
        expect_devices(&["lo", "up0"]);
    });
}

#[test]
fn a_small_network_is_used_up_and_used_again() {
    World::run(|world| {
        let options = NetworkOptions {
            bridge_subnet: Some("10.99.0.0/29".parse().expect("a network")),
            pool_size: Some(0),
            ..world.options(Mode::Bridge)
        };
        let Some(networks) = start(options) else {
            return;
        };
        let steps: Vec<_> = (0..5).map(|_| join(&networks)).collect();
        let refused = wait(networks.join("")).err().expect("full").to_string();
        assert_eq!(refused, "bridgeSubnet 10.99.0.0/29: no address is free");
        drop(steps);
        for _ in 0..10 {
            drop(join(&networks));
        }
    });
}

#[test]
fn nothing_is_left() {
    World::run(|world| {
        let Some(networks) = world.bridge() else {
            return;
        };
        let network = join(&networks);
        assert!(forwards("up0"));
        drop(network);
        drop(networks);
        expect_devices(&["lo", "up0"]);
        assert!(!forwards("up0"));
    });
}

#[test]
fn two_daemons_have_two_bridges() {
    World::run(|world| {
        let Some(first) = world.bridge() else { return };
        let second = world.bridge().expect("starts");
        assert_eq!(
            second.description(),
            "a bridge, buildkit1 with 10.11.0.0/16"
        );
        assert_ne!(
            step(&join(&first), own_address),
            step(&join(&second), own_address)
        );
        let refused = Networks::start(NetworkOptions {
            bridge_name: Some("buildkit0".to_owned()),
            ..world.options(Mode::Bridge)
        });
        assert_eq!(
            refused.err().expect("taken").to_string(),
            "bridge buildkit0 (10.10.0.0/16): another process uses it; set bridgeName and \
             bridgeSubnet"
        );
        let (listener, port) = world.outside(listen);
        for networks in [&first, &second] {
            step(&join(networks), || greet(OUTSIDE.into(), port)).expect("connected");
        }
        drop(first);
        step(&join(&second), || greet(OUTSIDE.into(), port)).expect("still connected");
        drop((second, listener));
        assert!(!forwards("up0"));
    });
}

#[test]
fn networks_that_are_in_use_are_avoided_or_refused() {
    World::run(|world| {
        ip("address add 10.10.3.1/24 dev up0");
        let Some(networks) = world.bridge() else {
            return;
        };
        assert_eq!(
            networks.description(),
            "a bridge, buildkit1 with 10.11.0.0/16"
        );
        let refused = Networks::start(NetworkOptions {
            bridge_subnet: Some("10.10.0.0/16".parse().expect("a network")),
            ..world.options(Mode::Bridge)
        });
        assert_eq!(
            refused.err().expect("in the way").to_string(),
            "bridgeSubnet 10.10.0.0/16: up0 has addresses of it already; set another"
        );
        drop(networks);
        expect_devices(&["lo", "up0"]);
    });
}

#[test]
fn a_bridge_of_somebody_else_is_used_and_stays() {
    World::run(|world| {
        ip("link add br7 type bridge");
        let options = NetworkOptions {
            bridge_name: Some("br7".to_owned()),
            ..world.options(Mode::Bridge)
        };
        let Some(networks) = start(options) else {
            return;
        };
        let (listener, port) = world.outside(listen);
        step(&join(&networks), || greet(OUTSIDE.into(), port)).expect("connected");
        drop(listener);
        drop(networks);
        expect_devices(&["br7", "lo", "up0"]);
    });
}

#[test]
fn bad_names_are_refused() {
    World::run(|world| {
        for name in ["", "..", "a b", "a/b", "sixteen-letters-"] {
            let refused = Networks::start(NetworkOptions {
                bridge_name: Some(name.to_owned()),
                ..world.options(Mode::Bridge)
            });
            let message = refused.err().expect(name).to_string();
            assert!(
                message.starts_with(&format!("bridgeName {name:?}: ")),
                "{message}"
            );
        }
    });
}

/// What steps get that ask for the host's network is not ours to give; unasked, it is the default.
#[test]
fn unconfigured_root_is_on_the_hosts_network() {
    World::run(|world| {
        let mut options = world.options(Mode::Auto);
        options.cni.config = world.state.path().join("none");
        let networks = Networks::start(options.clone()).expect("starts");
        assert!(join(&networks).namespace().is_none());
        assert_eq!((networks.label(), networks.notice()), ("host", None));
        options.auto_is_bridge = true;
        let Some(networks) = start(options) else {
            return;
        };
        let network = join(&networks);
        let namespace = network.namespace().expect("its own");
        assert_eq!(inside(namespace, devices), ["eth0", "lo"]);
    });
}
