//! A bridge of our own, with a wire to each step and the machine's address for what leaves it.
//!
//! **Who has what** is kept by the kernel and nowhere else. The port of a step on the bridge is named by
//! the step's address, `lamina0a0a0005` for 10.10.0.5, and two devices cannot have one name: making the
//! device is taking the address, for all processes on the machine at once. The port goes with the
//! step's namespace, and with it the address is free again.
//!
//! The same for the bridge itself: whoever has the port named by the gateway's address has the bridge.
//! Its other end is in a namespace that only this process holds, so that it is gone when this process
//! is. A bridge that [says](mark) it is ours, and whose gateway nobody has, is left over and is removed.
//!
//! Steps reach the bridge and what is behind it, not each other: their ports are isolated.

mod claim;
mod ipv6;
mod mark;

use std::io;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use crate::NetworkError;
use crate::NetworkOptions;
use crate::Subnet;
use crate::error::Doing;
use crate::forwarding;
use crate::forwarding::Family;
use crate::forwarding::Forwarder;
use crate::links::Device;
use crate::links::Links;
use crate::links::STEP_INTERFACE;
use crate::namespace;
use crate::namespace::NewNamespace;
use crate::nf;
use crate::nf::Range;
use crate::nf::Rules;
use crate::nf::Table;
use crate::pool::Wired;
use crate::pool::Wiring;
use crate::routes;
use crate::subnet;
use mark::Mark;

/// A bridge that is up, in the namespace of this thread.
pub(crate) struct Bridge {
    name: String,
    subnet: Subnet,
    links: Links,
    index: u32,
    /// Whether we made it, and not somebody else before us.
    ours: bool,
    is_marked: bool,
    /// Whether steps have IPv6 addresses too.
    ipv6: bool,
    /// The next number to try.
    next: u32,
    /// One for each family of addresses; none before it is up.
    tables: Vec<Table>,
    /// Devices that forward and did not before anybody of us came.
    only_for_us: Vec<Forwarder>,
    /// At the other end of the gateway's port.
    _anchor: OwnedFd,
}

impl Bridge {
    /// Says what of the options cannot be.
    pub(crate) fn check(options: &NetworkOptions) -> Result<(), NetworkError> {
        claim::check_name(options)
    }

    /// Sweeps what killed processes left, then makes the bridge or adopts the one that there is.
    pub(crate) fn start(options: &NetworkOptions) -> Result<Self, NetworkError> {
        let mut links = Links::open().doing(|| "open a netlink socket")?;
        claim::sweep(&mut links)?;
        let (name, subnet, anchor) = claim::claim(&mut links, options)?;
        let mut bridge = Self {
            name,
            subnet,
            links,
            index: 0,
            ours: false,
            is_marked: false,
            ipv6: false,
            next: 0,
            tables: Vec::new(),
            only_for_us: Vec::new(),
            _anchor: anchor,
        };
        bridge.set_up()?;
        bridge.let_out()?;
        tracing::info!("steps are on the bridge {}, {subnet}", bridge.name);
        Ok(bridge)
    }

    /// Makes the bridge, or takes the one that there is, and gives it the gateway.
    fn set_up(&mut self) -> Result<(), NetworkError> {
        let (links, name, gateway) = (&mut self.links, &self.name, self.subnet.gateway());
        self.ours = match links.add_bridge(name, mac(gateway)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            made => made
                .doing(|| format!("make the bridge {name}"))
                .map(|()| true)?,
        };
        self.index = claim::index(links, name)?;
        if self.ours {
            self.ipv6 = ipv6::prepare(name)?;
        }
        for (address, prefix) in addresses(self.subnet, gateway, self.ipv6) {
            match links.add_address(self.index, address, prefix) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                given => given.doing(|| format!("give {name} the address {address}"))?,
            }
        }
        let anchor = claim::index(links, &claim::port_name(gateway))?;
        let port = links.add_port(anchor, self.index);
        port.doing(|| format!("make a port of {name}"))?;
        links
            .bring_up(self.index)
            .doing(|| format!("bring {name} up"))
    }

    /// Lets packets pass between the bridge and wherever the machine sends what it has no other way
    /// for.
    fn let_out(&mut self) -> Result<(), NetworkError> {
        let devices = claim::list(&mut self.links)?;
        let others = mark::forwarding_for_others(&devices, &self.name);
        let mut uplinks = self.uplinks()?;
        // Those that forward for others of us alone do so for us.
        uplinks.retain(|one| others.contains(one) || !one.is_on());
        self.only_for_us = uplinks;
        // Said first, so that it can be undone.
        self.say(&devices)?;
        self.filter(Family::Ipv4)?;
        if self.ipv6
            && let Err(error) = self.filter(Family::Ipv6)
        {
            tracing::warn!(%error, "steps on {} have no IPv6", self.name);
            self.ipv6 = false;
            self.only_for_us.retain(|one| one.family != Family::Ipv6);
            let kept = forwarding::without_ipv6(&self.name);
            kept.doing(|| format!("keep {} from IPv6", self.name))?;
        }
        self.forward()
    }

    /// Returns the devices that lead out and have to forward for that.
    fn uplinks(&self) -> Result<Vec<Forwarder>, NetworkError> {
        let routes = routes::read().doing(|| "read the routes")?;
        let ipv4 = routes::uplinks(&routes);
        let mut all: Vec<Forwarder> = ipv4
            .iter()
            .map(|device| Forwarder::new(Family::Ipv4, device))
            .collect();
        if self.ipv6 {
            all.extend(ipv6::uplinks());
        }
        Ok(all)
    }

    /// Puts the rules for one family of addresses in force.
    fn filter(&mut self, family: Family) -> Result<(), NetworkError> {
        let table = Table::replace(&Rules {
            bridge: &self.name,
            range: Range::new(self.subnet, family),
            only_for_us: &self.only_for_us,
        });
        let table = table.doing(|| format!("filter packets of {}", self.name))?;
        self.tables.push(table);
        Ok(())
    }

    /// Turns forwarding on, which the rules bound.
    fn forward(&self) -> Result<(), NetworkError> {
        let mut own = vec![Forwarder::new(Family::Ipv4, &self.name)];
        if self.ipv6 {
            own.extend(ipv6::bridge(&self.name));
        }
        for one in self.only_for_us.iter().chain(&own) {
            tracing::info!("{one} forwards packets for steps, and no others");
            one.turn_on()
                .doing(|| format!("forward packets of {one}"))?;
        }
        Ok(())
    }

    /// Writes on the bridge what it is, unless somebody else has written something.
    fn say(&mut self, devices: &[Device]) -> Result<(), NetworkError> {
        let foreign = |device: &&Device| device.name == self.name && !device.alias.is_empty();
        if devices.iter().any(|device| foreign(&device)) {
            return Ok(());
        }
        let mark = Mark {
            made: self.ours,
            subnet: self.subnet,
            devices: self.only_for_us.clone(),
        };
        let said = self.links.set_alias(self.index, &mark.to_string());
        said.doing(|| format!("mark the bridge {}", self.name))?;
        self.is_marked = true;
        Ok(())
    }

    /// Turns off what is on for this bridge alone.
    fn stop_forwarding(&mut self) {
        let others = claim::list(&mut self.links).map_or_else(
            |_| Vec::new(),
            |devices| mark::forwarding_for_others(&devices, &self.name),
        );
        let unused = self.only_for_us.iter().filter(|one| !others.contains(one));
        unused.for_each(Forwarder::turn_off);
    }

    /// Removes the bridge, or what is said on it, and then the gateway: who has that may make the
    /// bridge.
    fn remove(&mut self) -> io::Result<()> {
        match self.ours {
            true => self.links.remove(&self.name)?,
            false if self.is_marked => self.links.set_alias(self.index, "")?,
            false => {}
        }
        self.links.remove(&claim::port_name(self.subnet.gateway()))
    }

    /// Makes a wire into `namespace` at the first address that is free.
    fn connect(&mut self, namespace: &NewNamespace) -> Result<(String, Ipv4Addr), NetworkError> {
        for _ in 0..self.subnet.capacity() {
            let address = self.subnet.step(self.next);
            self.next = (self.next + 1) % self.subnet.capacity();
            let port = claim::port_name(address);
            let fd = namespace.fd.as_fd();
            let made = self
                .links
                .add_wire(&port, Some(self.index), fd, mac(address));
            match made {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                result => {
                    result.doing(|| format!("make a port of {}", self.name))?;
                    return Ok((port, address));
                }
            }
        }
        Err(NetworkError::Full(self.subnet))
    }

    /// Gives a step its addresses and the way to everything else.
    fn address(&self, step: &mut Links, address: Ipv4Addr) -> Result<(), NetworkError> {
        let inside = claim::index(step, STEP_INTERFACE)?;
        step.bring_up(inside)
            .doing(|| "bring a step's interface up")?;
        for (address, prefix) in addresses(self.subnet, address, self.ipv6) {
            let given = step.add_address(inside, address, prefix);
            given.doing(|| format!("give a step {address}"))?;
        }
        for (gateway, _) in addresses(self.subnet, self.subnet.gateway(), self.ipv6) {
            let routed = step.add_default_route(gateway);
            routed.doing(|| "give a step a route")?;
        }
        Ok(())
    }
}

impl Wiring for Bridge {
    fn make(&mut self, _hostname: &str) -> Result<Wired, NetworkError> {
        let mut namespace = namespace::make().doing(|| "make a network namespace")?;
        let (port, address) = self.connect(&namespace)?;
        let wired = Wired {
            namespace: namespace.fd,
            name: port,
        };
        let outside = claim::index(&mut self.links, &wired.name)?;
        self.links
            .isolate_port(outside)
            .doing(|| format!("isolate {}", wired.name))?;
        self.address(&mut namespace.links, address)?;
        Ok(wired)
    }

    fn unmake(&mut self, wired: &Wired) -> Result<(), NetworkError> {
        // Its namespace still exists, so the device is still that one.
        self.links
            .remove(&wired.name)
            .doing(|| format!("remove {}", wired.name))
    }

    fn tells_hostname(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        let ipv6 = if self.ipv6 { " and IPv6" } else { "" };
        format!("a bridge, {} with {}{ipv6}", self.name, self.subnet)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // Off before the rules that bound it.
        self.stop_forwarding();
        let removed = self.tables.drain(..).try_for_each(Table::remove);
        if let Err(error) = removed.and_then(|()| self.remove()) {
            tracing::warn!(%error, "the bridge {} is left to the next start", self.name);
        }
    }
}

/// Returns an address, the IPv6 address that goes with it if there is one, and the bits of the networks
/// around them.
fn addresses(subnet: Subnet, address: Ipv4Addr, ipv6: bool) -> impl Iterator<Item = (IpAddr, u8)> {
    let other = ipv6.then(|| (subnet::ipv6(address).into(), subnet.ipv6_prefix()));
    std::iter::once((address.into(), subnet.prefix())).chain(other)
}

/// A hardware address for an IPv4 address: the same whoever has it, so that no neighbour is wrong
/// about it for a while.
fn mac(address: Ipv4Addr) -> [u8; 6] {
    // The first byte says that it was given by hand.
    let [a, b, c, d] = address.octets();
    [0x02, 0x6c, a, b, c, d]
}

/// Removes the rules of a bridge; there may be none.
fn remove_rules(bridge: &str) {
    if let Err(error) = nf::sweep(bridge, Family::Ipv4) {
        tracing::warn!(%error, "the rules of {bridge} may still be in force");
    }
    if let Err(error) = nf::sweep(bridge, Family::Ipv6) {
        // A kernel without IPv6 has none.
        tracing::debug!(%error, "no rules of {bridge} for IPv6 were removed");
    }
}
