//! IPv6 on the bridge: as IPv4, where the machine has it.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::UdpSocket;
use std::time::Duration;

use lamina_network::Mode;
use lamina_network::NetworkOptions;
use lamina_network::Networks;

use crate::world::World;
use crate::world::expect_devices;
use crate::world::expect_nobody_reaches_a_step;
use crate::world::greet;
use crate::world::ip;
use crate::world::join;
use crate::world::listen_on;
use crate::world::skip;
use crate::world::start;
use crate::world::step;

const OUTSIDE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// How long to wait for what is not to come.
const SHORT: Duration = Duration::from_millis(300);

fn setting(device: &str, name: &str) -> Option<String> {
    let path = format!("/proc/sys/net/ipv6/conf/{device}/{name}");
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

fn set(device: &str, name: &str, value: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{device}/{name}");
    std::fs::write(path, value).expect("set");
}

/// Connects host and outside by IPv6, or says why not. Forwarding is off.
fn connect(world: &World) -> Option<()> {
    if setting("all", "disable_ipv6").is_none() {
        return skip("no IPv6");
    }
    let enable = |device: &str| {
        set("all", "disable_ipv6", "0");
        set(device, "disable_ipv6", "0");
    };
    enable("up0");
    set("all", "forwarding", "0");
    ip(&format!("address add {HOST}/64 dev up0 nodad"));
    world.outside(|| {
        enable("up1");
        ip(&format!("address add {OUTSIDE}/64 dev up1 nodad"));
    });
    ip(&format!("-6 route add default via {OUTSIDE}"));
    Some(())
}

/// Has the machine forward where it cannot be told so for single devices.
fn let_forward() {
    if setting("all", "force_forwarding").is_none() {
        set("all", "forwarding", "1");
    }
}

/// Starts a bridge in a world with IPv6.
fn bridge(world: &World) -> Option<Networks> {
    connect(world)?;
    let_forward();
    world.bridge()
}

fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((OUTSIDE, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[test]
fn steps_reach_the_outside_under_the_hosts_address() {
    World::run(|world| {
        let Some(networks) = bridge(world) else {
            return;
        };
        assert_eq!(
            networks.description(),
            "a bridge, buildkit0 with 10.10.0.0/16 and IPv6"
        );
        let (listener, port) = world.outside(|| listen_on(Ipv6Addr::UNSPECIFIED.into()));
        for _ in 0..2 {
            let network = join(&networks);
            step(&network, || greet(OUTSIDE.into(), port)).expect("connected");
            let (_, peer) = listener.accept().expect("a connection");
            assert_eq!(peer.ip(), HOST);
            let address = step(&network, own_address).expect("an address").to_string();
            assert!(address.starts_with("fd6c:616d:696e::a0a:"), "{address}");
        }
        drop(networks);
        expect_devices(&["lo", "up0"]);
    });
}

#[test]
fn nobody_reaches_a_step() {
    World::run(|world| {
        let Some(networks) = bridge(world) else {
            return;
        };
        expect_nobody_reaches_a_step(
            (world, &networks),
            (
                || own_address().expect("an address"),
                Ipv6Addr::UNSPECIFIED.into(),
            ),
            &format!("-6 route add fd6c:616d:696e::/96 via {HOST}"),
        );
    });
}

/// Where nothing was passed on before, nothing is but what steps ask for.
#[test]
fn the_host_does_not_become_a_router() {
    World::run(|world| {
        if connect(world).is_none() {
            return;
        }
        let Some(before) = setting("up0", "force_forwarding") else {
            skip::<()>("a kernel before 6.17");
            return;
        };
        assert_eq!(before, "0");
        let Some(networks) = world.bridge() else {
            return;
        };
        let on = |device| setting(device, "force_forwarding").as_deref() == Some("1");
        assert!(on("up0") && on("buildkit0"));
        assert_eq!(setting("all", "forwarding").as_deref(), Some("0"));
        ip("link add up7 type veth peer name up8");
        ip("link set up7 up");
        ip("-6 address add 2001:db8:7::1/64 dev up7 nodad");
        ip("link set up8 up");
        ip("-6 neighbour add 2001:db8:7::2 lladdr 02:00:00:00:00:07 dev up7");
        world.outside(|| ip(&format!("-6 route add 2001:db8:7::/64 via {HOST}")));
        let sent = || passed("up7");
        let before = sent();
        world.outside(|| {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a socket");
            let target = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 2);
            (0..100).for_each(|_| drop(socket.send_to(&[0; 1000], (target, 9))));
        });
        assert!(sent() - before < 50_000, "what was sent passes");
        drop(networks);
        assert!(!on("up0"));
    });
}

/// Bytes that a device has sent.
fn passed(device: &str) -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").expect("devices");
    let line = table
        .lines()
        .find_map(|line| line.trim().strip_prefix(&format!("{device}:")));
    let word = line.and_then(|line| line.split_whitespace().nth(8));
    word.and_then(|word| word.parse().ok()).expect("a number")
}

/// A machine that cannot be told to forward by device is left alone.
#[test]
fn old_kernels_that_do_not_forward_give_steps_no_ipv6() {
    World::run(|world| {
        if connect(world).is_none() {
            return;
        }
        if setting("all", "force_forwarding").is_some() {
            skip::<()>("a kernel since 6.17");
            return;
        }
        let Some(networks) = world.bridge() else {
            return;
        };
        assert_eq!(step(&join(&networks), own_address), None);
        assert_eq!(setting("all", "forwarding").as_deref(), Some("0"));
    });
}

/// Nobody speaks for a step but under its own addresses.
#[test]
fn foreign_addresses_of_steps_do_not_leave() {
    World::run(|world| {
        let Some(networks) = bridge(world) else {
            return;
        };
        let outside = world.outside(|| UdpSocket::bind((OUTSIDE, 0)).expect("a socket"));
        outside.set_read_timeout(Some(SHORT)).expect("set");
        let port = outside.local_addr().expect("an address").port();
        let network = join(&networks);
        let own = step(&network, own_address).expect("an address");
        let send = |from: IpAddr| {
            let socket = UdpSocket::bind((from, 0)).expect("a socket");
            socket.send_to(b"hello", (OUTSIDE, port)).expect("sent");
        };
        let foreign = Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 9);
        step(&network, || {
            ip(&format!("address add {foreign}/64 dev eth0 nodad"));
            send(foreign.into());
        });
        let mut received = [0; 8];
        assert!(outside.recv_from(&mut received).is_err(), "it has left");
        step(&network, || send(own));
        let (_, peer) = outside.recv_from(&mut received).expect("received");
        assert_eq!(peer.ip(), HOST);
    });
}

#[test]
fn steps_are_not_believed_about_routers() {
    World::run(|world| {
        let Some(networks) = bridge(world) else {
            return;
        };
        for name in ["accept_ra", "accept_redirects"] {
            assert_eq!(setting("buildkit0", name).as_deref(), Some("0"), "{name}");
        }
        drop(networks);
    });
}

#[test]
fn without_a_way_out_steps_have_no_ipv6() {
    World::run(|world| {
        let Some(networks) = world.bridge() else {
            return;
        };
        assert_eq!(step(&join(&networks), own_address), None);
        let disabled = setting("buildkit0", "disable_ipv6");
        assert!(disabled.is_none_or(|value| value == "1"));
    });
}

#[test]
fn a_bridge_of_somebody_else_is_left_as_it_is() {
    World::run(|world| {
        if connect(world).is_none() {
            return;
        }
        ip("link add br7 type bridge");
        let before = setting("br7", "accept_ra");
        let networks = start(NetworkOptions {
            bridge_name: Some("br7".to_owned()),
            ..world.options(Mode::Bridge)
        });
        let Some(networks) = networks else { return };
        assert_eq!(step(&join(&networks), own_address), None);
        assert_eq!(setting("br7", "accept_ra"), before);
    });
}
