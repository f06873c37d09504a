//! What the machine reaches already.

use std::io;
use std::net::Ipv4Addr;

use crate::Subnet;

/// Of the namespace that the reading thread is in.
const TABLE: &str = "/proc/thread-self/net/route";

/// One line of the kernel's table of IPv4 routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) device: String,
    network: Ipv4Addr,
    mask: u32,
}

/// Reads the table of this thread's namespace.
pub(crate) fn read() -> io::Result<Vec<Route>> {
    Ok(parse(&std::fs::read_to_string(TABLE)?))
}

impl Route {
    /// Says whether everything without another way goes by it.
    pub(crate) fn is_default(&self) -> bool {
        self.mask == 0
    }
}

/// Returns the devices of default routes, each once.
pub(crate) fn uplinks(routes: &[Route]) -> Vec<String> {
    let mut devices: Vec<String> = Vec::new();
    for route in routes.iter().filter(|route| route.is_default()) {
        if !devices.contains(&route.device) {
            devices.push(route.device.clone());
        }
    }
    devices
}

/// Returns the device, other than `own`, by which addresses of `subnet` are reached.
pub(crate) fn in_the_way(routes: &[Route], subnet: Subnet, own: &str) -> Option<String> {
    let found = routes
        .iter()
        .find(|route| route.device != own && subnet.contains(route.network, route.mask));
    found.map(|route| route.device.clone())
}

fn parse(table: &str) -> Vec<Route> {
    table.lines().skip(1).filter_map(line).collect()
}

/// Reads `device destination gateway flags refcount use metric mask ..`; numbers are hexadecimal, and
/// addresses in the order of bytes that the network has, read as one of this machine's.
fn line(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |index: usize| {
        let number = u32::from_str_radix(words.get(index)?, 16).ok()?;
        Some(u32::from_be_bytes(number.to_ne_bytes()))
    };
    Some(Route {
        device: (*words.first()?).to_owned(),
        network: Ipv4Addr::from_bits(number(1)?),
        mask: number(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    const TABLE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n\
        eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0\n\
        eth0\t00000000\t0200A8C0\t0003\t0\t0\t9\t00000000\t0\t0\t0\n\
        eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
        vpn0\t00030A0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
        rubbish\n";

    #[cfg(target_endian = "little")]
    #[test]
    fn the_kernels_table_is_read() {
        let routes = parse(TABLE);
        assert_eq!(routes.len(), 5);
        assert_eq!(uplinks(&routes), ["eth0", "tun0"]);
        for (subnet, own, expected) in [
            ("10.10.0.0/16", "buildkit0", Some("vpn0")),
            ("10.10.0.0/16", "vpn0", None),
            ("10.11.0.0/16", "buildkit0", None),
            ("192.168.0.0/16", "buildkit0", Some("eth0")),
        ] {
            let subnet = subnet.parse().expect("a network");
            assert_eq!(
                in_the_way(&routes, subnet, own).as_deref(),
                expected,
                "{subnet} {own}"
            );
        }
    }
}
