//! Letting the machine pass packets on between a bridge and the devices that lead out.
//!
//! Only the devices concerned are told, never all at once (`net.ipv4.ip_forward`,
//! `net.ipv6.conf.all.forwarding`: that one would also have the machine ignore its own routers). For IPv6
//! the kernel has such a setting since 6.17 (`force_forwarding`). All of this is about the namespace that
//! the calling thread is in.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

/// Which addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

/// A device that forwards packets of a family. Written `eth0`, or `6:eth0` for IPv6: no device has a
/// colon in its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forwarder {
    pub(crate) family: Family,
    pub(crate) device: String,
}

const IPV6_MARK: &str = "6:";

impl Forwarder {
    pub(crate) fn new(family: Family, device: &str) -> Self {
        let device = device.to_owned();
        Self { family, device }
    }

    /// Says whether the device forwards.
    pub(crate) fn is_on(&self) -> bool {
        reads_one(&self.place())
    }

    /// Makes the device forward.
    pub(crate) fn turn_on(&self) -> io::Result<()> {
        std::fs::write(self.place(), "1")
    }

    /// Makes the device forward nothing any more; it may have gone.
    pub(crate) fn turn_off(&self) {
        match std::fs::write(self.place(), "0") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "{self} still forwards packets");
            }
            _ => {}
        }
    }

    fn place(&self) -> PathBuf {
        match self.family {
            Family::Ipv4 => Path::new("/proc/sys/net/ipv4/conf")
                .join(&self.device)
                .join("forwarding"),
            Family::Ipv6 => ipv6_setting(&self.device, "force_forwarding"),
        }
    }
}

impl fmt::Display for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.family {
            Family::Ipv4 => "",
            Family::Ipv6 => IPV6_MARK,
        };
        write!(f, "{mark}{}", self.device)
    }
}

impl FromStr for Forwarder {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix(IPV6_MARK) {
            Some(device) => Self::new(Family::Ipv6, device),
            None => Self::new(Family::Ipv4, text),
        })
    }
}

/// How a machine comes to forward IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ipv6Forwarding {
    /// It does already, on all devices.
    Everywhere,
    /// Devices can be told.
    ByDevice,
    /// Only the whole machine could be told.
    No,
}

/// Finds out how IPv6 is forwarded here.
pub(crate) fn ipv6() -> Ipv6Forwarding {
    if reads_one(&ipv6_setting("all", "forwarding")) {
        return Ipv6Forwarding::Everywhere;
    }
    match ipv6_setting("all", "force_forwarding").exists() {
        true => Ipv6Forwarding::ByDevice,
        false => Ipv6Forwarding::No,
    }
}

/// Keeps a device from everything of IPv6.
pub(crate) fn without_ipv6(device: &str) -> io::Result<()> {
    match std::fs::write(ipv6_setting(device, "disable_ipv6"), "1") {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Has a device that is not up yet speak IPv6, believe nobody who says where to send packets, and ask
/// nobody whether its addresses are free.
pub(crate) fn with_ipv6(device: &str) -> io::Result<()> {
    let settings = [
        ("accept_ra", "0"),
        ("accept_redirects", "0"),
        ("accept_dad", "0"),
        ("disable_ipv6", "0"),
    ];
    settings
        .into_iter()
        .try_for_each(|(name, value)| std::fs::write(ipv6_setting(device, name), value))
}

fn ipv6_setting(device: &str, name: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv6/conf").join(device).join(name)
}

fn reads_one(place: &Path) -> bool {
    std::fs::read_to_string(place).is_ok_and(|text| text.trim() == "1")
}
