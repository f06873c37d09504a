//! Whose a bridge and its addresses are.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use super::mac;
use super::mark;
use super::mark::Mark;
use super::remove_rules;
use crate::NetworkError;
use crate::NetworkOptions;
use crate::Subnet;
use crate::error::Doing;
use crate::forwarding::Forwarder;
use crate::links::Device;
use crate::links::Links;
use crate::links::MAX_NAME_BYTES;
use crate::namespace;
use crate::routes;

/// Bridges that are tried where the user names none.
const USUAL: u8 = 16;

/// How long the kernel may take to remove what belonged to a process that was killed.
const PATIENCE: Duration = Duration::from_secs(3);

/// The same where another bridge would do.
const LITTLE_PATIENCE: Duration = Duration::from_millis(300);

/// How often it is looked after that.
const INTERVAL: Duration = Duration::from_millis(20);

/// Returns the name of the port that stands for an address.
pub(super) fn port_name(address: Ipv4Addr) -> String {
    format!("lamina{:08x}", address.to_bits())
}

/// Returns the number of a device that has to exist.
pub(super) fn index(links: &mut Links, name: &str) -> Result<u32, NetworkError> {
    let found = links.find(name).and_then(|device| {
        let missing = || std::io::Error::from(ErrorKind::NotFound);
        device.ok_or_else(missing)
    });
    Ok(found.doing(|| format!("find {name}"))?.index)
}

/// Removes what killed processes left: bridges, and that devices forward for them.
pub(super) fn sweep(links: &mut Links) -> Result<(), NetworkError> {
    let devices = list(links)?;
    for device in &devices {
        if let Some(mark) = Mark::read(device)
            && !mark.is_living(&devices)
        {
            remove(links, &devices, device, &mark)?;
        }
    }
    Ok(())
}

pub(super) fn list(links: &mut Links) -> Result<Vec<Device>, NetworkError> {
    links.all().doing(|| "list the network devices")
}

fn remove(
    links: &mut Links,
    all: &[Device],
    bridge: &Device,
    mark: &Mark,
) -> Result<(), NetworkError> {
    let name = &bridge.name;
    tracing::info!("removing what a killed process left of the bridge {name}");
    remove_rules(name);
    let still = mark::forwarding_for_others(all, name);
    let unused = mark.devices.iter().filter(|one| !still.contains(one));
    unused.for_each(Forwarder::turn_off);
    if mark.made {
        return links.remove(name).doing(|| format!("remove {name}"));
    }
    let cleared = links.set_alias(bridge.index, "");
    cleared.doing(|| format!("clear the alias of {name}"))
}

/// Takes a bridge: the one that the options name, or the first that can be had. Returns its name, its
/// subnet, and the namespace that holds the claim.
pub(super) fn claim(
    links: &mut Links,
    options: &NetworkOptions,
) -> Result<(String, Subnet, OwnedFd), NetworkError> {
    let any = options.bridge_name.is_none() && options.bridge_subnet.is_none();
    let mut refused = None;
    for number in 0..if any { USUAL } else { 1 } {
        let (name, subnet) = candidate(options, number)?;
        match claim_one(links, &name, subnet, patience(any, number)) {
            Ok(anchor) => return Ok((name, subnet, anchor)),
            Err(error @ (NetworkError::Taken { .. } | NetworkError::Overlap { .. })) => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or(NetworkError::Stopped))
}

/// Says whether the name that the options give can be one.
pub(super) fn check_name(options: &NetworkOptions) -> Result<(), NetworkError> {
    candidate(options, 0).map(drop)
}

fn candidate(options: &NetworkOptions, number: u8) -> Result<(String, Subnet), NetworkError> {
    let usual = || format!("buildkit{number}");
    let name = options.bridge_name.clone().unwrap_or_else(usual);
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let named = (1..=MAX_NAME_BYTES).contains(&name.len()) && name != "." && name != "..";
    if !named || !name.bytes().all(fine) {
        return Err(NetworkError::BridgeName(name));
    }
    let subnet = options.bridge_subnet;
    Ok((name, subnet.unwrap_or_else(|| Subnet::usual(number))))
}

/// How long to wait for a gateway that somebody has.
fn patience(any: bool, number: u8) -> Duration {
    match (any, number) {
        (false, _) => PATIENCE,
        (true, 0) => LITTLE_PATIENCE,
        (true, _) => Duration::ZERO,
    }
}

fn claim_one(
    links: &mut Links,
    name: &str,
    subnet: Subnet,
    patience: Duration,
) -> Result<OwnedFd, NetworkError> {
    let anchor = take_gateway(links, name, subnet, patience)?;
    let checked = check(links, name, subnet);
    if checked.is_err() {
        // It would go by itself, but later.
        drop(links.remove(&port_name(subnet.gateway())));
    }
    checked.map(|()| anchor)
}

/// Takes the address of the gateway. Returns the namespace that it goes with.
fn take_gateway(
    links: &mut Links,
    name: &str,
    subnet: Subnet,
    patience: Duration,
) -> Result<OwnedFd, NetworkError> {
    let anchor = namespace::make().doing(|| "make a network namespace")?;
    let gateway = subnet.gateway();
    // The bridge has the gateway's.
    let mac = mac(subnet.network());
    let deadline = Instant::now() + patience;
    loop {
        match links.add_wire(&port_name(gateway), None, anchor.fd.as_fd(), mac) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => {
                result.doing(|| format!("claim the address {gateway}"))?;
                return Ok(anchor.fd);
            }
        }
        if Instant::now() >= deadline {
            let bridge = name.to_owned();
            return Err(NetworkError::Taken { bridge, subnet });
        }
        // The kernel tells nobody when it has removed a namespace.
        std::thread::sleep(INTERVAL);
    }
}

/// Removes a bridge with this name that is left over, and sees that nothing is in the way of the
/// subnet, whose gateway is taken.
fn check(links: &mut Links, name: &str, subnet: Subnet) -> Result<(), NetworkError> {
    let devices = list(links)?;
    let own = devices.iter().find(|device| device.name == name);
    if let Some((own, mark)) = own.and_then(|own| Some((own, Mark::read(own)?))) {
        // With this subnet it was that of somebody who had the gateway before.
        if mark.subnet != subnet && mark.is_living(&devices) {
            let bridge = name.to_owned();
            return Err(NetworkError::Taken { bridge, subnet });
        }
        remove(links, &devices, own, &mark)?;
    }
    let routes = routes::read().doing(|| "read the routes")?;
    match routes::in_the_way(&routes, subnet, name) {
        Some(device) => Err(NetworkError::Overlap { subnet, device }),
        None => Ok(()),
    }
}
