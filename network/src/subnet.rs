//! IPv4 networks, the addresses in them, and the IPv6 addresses that go with those.

use std::fmt;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Prefixes of fewer bits would be more than any private range; of more bits hold no steps.
const PREFIXES: std::ops::RangeInclusive<u8> = 8..=29;

/// The first 96 bits of the IPv6 addresses that go with IPv4 ones: a network that is never routed
/// (`fd00::/8`), whose forty bits of choice spell "lamin".
const IPV6: u128 = 0xfd6c_616d_696e << 80;

/// Bits of an IPv6 address before the IPv4 address in it.
const IPV6_BITS: u8 = 96;

/// Returns the IPv6 address that goes with an IPv4 one: whoever has the one has the other.
pub(crate) fn ipv6(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(IPV6 | u128::from(address.to_bits()))
}

/// An IPv4 network of at least eight addresses, such as `10.10.0.0/16`.
///
/// ```text
/// first       the network itself
/// second      the gateway
/// between     one for each step
/// last        broadcast
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    network: u32,
    prefix: u8,
}

/// A text that names no usable network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no IPv4 network: {reason}")]
pub struct SubnetError {
    text: String,
    reason: &'static str,
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let refuse = |reason| SubnetError {
            text: text.to_owned(),
            reason,
        };
        let (address, prefix) = text
            .split_once('/')
            .ok_or_else(|| refuse("expected ADDRESS/BITS"))?;
        let address: Ipv4Addr = address.parse().map_err(|_| refuse("bad address"))?;
        let prefix: u8 = prefix.parse().map_err(|_| refuse("bad number of bits"))?;
        if !PREFIXES.contains(&prefix) {
            return Err(refuse("expected 8 to 29 bits"));
        }
        let subnet = Self {
            network: address.to_bits(),
            prefix,
        };
        if subnet.network & !subnet.mask() != 0 {
            return Err(refuse(
                "the address has bits set that are not of the network",
            ));
        }
        Ok(subnet)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.network), self.prefix)
    }
}

impl Subnet {
    /// Where bridges are that nobody gave addresses: `10.10.0.0/16` and the 15 after it.
    pub(crate) fn usual(number: u8) -> Self {
        Self {
            network: Ipv4Addr::new(10, 10 + number % 16, 0, 0).to_bits(),
            prefix: 16,
        }
    }

    /// Number of bits of the network.
    pub(crate) fn prefix(self) -> u8 {
        self.prefix
    }

    /// The network's own address.
    pub(crate) fn network(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network)
    }

    /// Number of bits of the IPv6 network that goes with it.
    pub(crate) fn ipv6_prefix(self) -> u8 {
        IPV6_BITS + self.prefix
    }

    /// The bits of the IPv6 network, set.
    pub(crate) fn ipv6_mask(self) -> u128 {
        u128::MAX << (128 - u32::from(self.ipv6_prefix()))
    }

    /// The bits of the network, set.
    pub(crate) fn mask(self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix))
    }

    /// The address of the bridge.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network + 1)
    }

    /// How many steps there are addresses for.
    pub(crate) fn capacity(self) -> u32 {
        // Without the network, the gateway and broadcast.
        !self.mask() - 2
    }

    /// The address of a step; numbers beyond the capacity begin again.
    pub(crate) fn step(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network + 2 + number % self.capacity())
    }

    /// Says whether all of `network` with `mask` is in this network.
    pub(crate) fn contains(self, network: Ipv4Addr, mask: u32) -> bool {
        mask & self.mask() == self.mask() && network.to_bits() & self.mask() == self.network
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_networks_or_refused_with_the_reason() {
        for (text, expected) in [
            ("10.10.0.0/16", "10.10.0.0/16"),
            ("192.168.7.8/29", "192.168.7.8/29"),
            (
                "10.10.0.0",
                "\"10.10.0.0\" is no IPv4 network: expected ADDRESS/BITS",
            ),
            ("10.0/8", "\"10.0/8\" is no IPv4 network: bad address"),
            ("fd00::/64", "\"fd00::/64\" is no IPv4 network: bad address"),
            (
                "10.0.0.0/x",
                "\"10.0.0.0/x\" is no IPv4 network: bad number of bits",
            ),
            (
                "10.0.0.0/30",
                "\"10.0.0.0/30\" is no IPv4 network: expected 8 to 29 bits",
            ),
            (
                "0.0.0.0/0",
                "\"0.0.0.0/0\" is no IPv4 network: expected 8 to 29 bits",
            ),
            (
                "10.10.0.1/16",
                "\"10.10.0.1/16\" is no IPv4 network: the address has bits set that are not of \
                 the network",
            ),
        ] {
            let shown = match text.parse::<Subnet>() {
                Ok(subnet) => subnet.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn ipv6_addresses_hold_ipv4_ones() {
        let subnet = Subnet::usual(0);
        assert_eq!(ipv6(subnet.gateway()).to_string(), "fd6c:616d:696e::a0a:1");
        assert_eq!(subnet.ipv6_prefix(), 112);
        let mask = Ipv6Addr::from_bits(subnet.ipv6_mask());
        assert_eq!(mask.to_string(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:0");
    }

    #[test]
    fn steps_have_all_addresses_but_three() {
        let subnet: Subnet = "10.1.2.8/29".parse().expect("a network");
        let steps: Vec<String> = (0..6)
            .map(|number| subnet.step(number).to_string())
            .collect();
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 1, 2, 9));
        assert_eq!(
            steps,
            [
                "10.1.2.10",
                "10.1.2.11",
                "10.1.2.12",
                "10.1.2.13",
                "10.1.2.14",
                "10.1.2.10"
            ]
        );
    }

    #[test]
    fn parts_are_contained_and_the_whole_is_not() {
        let subnet = Subnet::usual(0);
        for (network, bits, expected) in [
            ([10, 10, 0, 0], 16, true),
            ([10, 10, 3, 0], 24, true),
            ([10, 0, 0, 0], 8, false),
            ([10, 11, 0, 0], 24, false),
            ([0, 0, 0, 0], 0, false),
        ] {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            assert_eq!(
                subnet.contains(network.into(), mask),
                expected,
                "{network:?}/{bits}"
            );
        }
    }
}
