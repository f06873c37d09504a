//! What the machine reaches already.

use std::io;
use std::net::Ipv4Addr;

use crate::Subnet;

/// Of the namespace that the reading thread is in.
const TABLE: &str = "/proc/thread-self/net/route";
const IPV6_TABLE: &str = "/proc/thread-self/net/ipv6_route";

/// `RTF_REJECT`: the route leads nowhere.
const REJECTS: u32 = 0x200;

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

/// Returns the devices of default routes of IPv6 in this thread's namespace, each once; none on a kernel
/// without IPv6.
pub(crate) fn ipv6_uplinks() -> Vec<String> {
    let table = std::fs::read_to_string(IPV6_TABLE).unwrap_or_default();
    let mut devices: Vec<String> = table.lines().filter_map(ipv6_default).collect();
    devices.sort();
    devices.dedup();
    devices
}

/// Reads `network bits source bits gateway metric refcount use flags device`, in hexadecimal, and returns
/// the device if that is a default route.
fn ipv6_default(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [network, bits, .., flags, device] = words.as_slice() else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let all = *bits == "00" && network.bytes().all(|digit| digit == b'0');
    (all && flags & REJECTS == 0).then(|| (*device).to_owned())
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

    #[test]
    fn default_routes_of_ipv6_are_those_that_lead_somewhere() {
        let none = "0".repeat(32);
        let gateway = "fd000000000000000000000000000001";
        for (line, expected) in [
            (
                format!("{none} 00 {none} 00 {gateway} 400 3 0 00000003     eth0"),
                Some("eth0"),
            ),
            (
                format!("{none} 00 {none} 00 {none} ffffffff 1 0 00200200       lo"),
                None,
            ),
            (
                format!("{gateway} 40 {none} 00 {none} 100 1 0 00000001     eth0"),
                None,
            ),
            ("rubbish".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(ipv6_default(&line).as_deref(), expected, "{line}");
        }
    }

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
