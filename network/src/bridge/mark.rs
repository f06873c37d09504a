//! What a bridge says of itself, for whoever finds it: its alias.
//!
//! ```text
//! lamina made 10.10.0.0/16 eth0 wlan0 6:eth0
//!        │    │            └ devices that forward for it and did not before, IPv6 if it says so
//!        │    └ its subnet
//!        └ "made" by us, or "uses": the bridge was there before
//! ```

use std::fmt;

use super::claim::port_name;
use crate::Subnet;
use crate::forwarding::Forwarder;
use crate::links::Device;

const OWNER: &str = "lamina";
const MADE: &str = "made";
const USES: &str = "uses";

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Whether the bridge goes with its user.
    pub(super) made: bool,
    pub(super) subnet: Subnet,
    /// Devices that are to forward nothing once the bridge is out of use.
    pub(super) devices: Vec<Forwarder>,
}

impl Mark {
    /// Reads what a device says, if it is a bridge in our use.
    pub(super) fn read(device: &Device) -> Option<Self> {
        let mut words = device.alias.split(' ');
        if !device.is_bridge || words.next()? != OWNER {
            return None;
        }
        let made = match words.next()? {
            MADE => true,
            USES => false,
            _ => return None,
        };
        Some(Self {
            made,
            subnet: words.next()?.parse().ok()?,
            devices: words.flat_map(str::parse).collect(),
        })
    }

    /// Says whether the bridge's user lives: somebody has the gateway.
    pub(super) fn is_living(&self, all: &[Device]) -> bool {
        let gateway = port_name(self.subnet.gateway());
        all.iter().any(|device| device.name == gateway)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.made { MADE } else { USES };
        write!(f, "{OWNER} {kind} {}", self.subnet)?;
        self.devices
            .iter()
            .try_for_each(|device| write!(f, " {device}"))
    }
}

/// Returns the devices that forward for bridges in use, but for the bridge `except`.
pub(super) fn forwarding_for_others(all: &[Device], except: &str) -> Vec<Forwarder> {
    let others = all.iter().filter(|device| device.name != except);
    let marks = others.filter_map(Mark::read);
    let living = marks.filter(|mark| mark.is_living(all));
    living.flat_map(|mark| mark.devices).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forwarding::Family;

    fn bridge(name: &str, alias: &str) -> Device {
        Device {
            name: name.to_owned(),
            alias: alias.to_owned(),
            is_bridge: true,
            ..Device::default()
        }
    }

    #[test]
    fn what_is_said_is_read_again_and_nothing_else_is() {
        for (alias, expected) in [
            ("lamina made 10.10.0.0/16", true),
            ("lamina uses 10.10.0.0/16 eth0 wlan0 6:eth0", true),
            ("", false),
            ("somebody's", false),
            ("lamina", false),
            ("lamina made", false),
            ("lamina made nonsense", false),
            ("lamina lost 10.10.0.0/16", false),
        ] {
            let read = Mark::read(&bridge("b", alias)).map(|mark| mark.to_string());
            assert_eq!(read.as_deref(), expected.then_some(alias), "{alias:?}");
        }
        let no_bridge = Device {
            is_bridge: false,
            ..bridge("b", "lamina made 10.10.0.0/16")
        };
        assert_eq!(Mark::read(&no_bridge), None);
    }

    #[test]
    fn devices_forward_for_bridges_whose_gateway_somebody_has() {
        let all = [
            bridge("own", "lamina made 10.10.0.0/16 eth0"),
            bridge("living", "lamina made 10.11.0.0/16 eth1"),
            bridge("dead", "lamina made 10.12.0.0/16 eth2"),
            bridge("lamina0a0a0001", ""),
            bridge("lamina0a0b0001", ""),
        ];
        let others = forwarding_for_others(&all, "own");
        assert_eq!(others, [Forwarder::new(Family::Ipv4, "eth1")]);
    }
}
