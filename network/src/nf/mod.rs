//! Packet filters: one table of ours per bridge and family of addresses (nf_tables).
//!
//! ```text
//! table ip lamina-buildkit0 {
//!   chain postrouting { type nat hook postrouting priority srcnat;
//!     ip saddr 10.10.0.0/16 oifname != "buildkit0" masquerade
//!   }
//!   chain forward { type filter hook forward priority filter;
//!     oifname "buildkit0" ct state established,related accept
//!     oifname "buildkit0" drop
//!     iifname "eth0" ct state != established,related drop     # where forwarding was off before
//!   }
//! }
//! ```
//! The table `ip6 lamina-buildkit0` is the same for IPv6, and also ends what comes from a step under an
//! address that is none of the bridge's: for IPv4 the kernel can look after that (`rp_filter`).
//!
//! A table is replaced as a whole, in one transaction. It belongs to the socket that made it, so the
//! kernel removes it when this process ends, however it ends; kernels before 5.12 have no owners, and
//! there the next process does it.

mod attributes;
mod expressions;
mod message;

use std::io;

use rustix::io::Errno;

use crate::Subnet;
use crate::forwarding::Family;
use crate::forwarding::Forwarder;
use crate::netlink::Netlink;
use crate::subnet;
use message::Chain;
use message::Message;

/// What the chains for addresses are ordered by; the kernel's word is "srcnat".
const SOURCE_NAT: i32 = 100;

/// What the chains of plain filters are ordered by.
const FILTER: i32 = 0;

/// Where in the way of a packet a chain is asked.
const HOOK_FORWARD: u32 = 2;
const HOOK_POSTROUTING: u32 = 4;

/// The rules of a bridge, in force until this is dropped, or, on old kernels, removed.
pub(crate) struct Table {
    family: Family,
    name: String,
    /// The owner.
    netlink: Netlink,
}

/// What the rules are about.
pub(crate) struct Rules<'a> {
    pub(crate) bridge: &'a str,
    /// The addresses of its steps.
    pub(crate) range: Range,
    /// Devices that would not have forwarded anything without us; they pass on answers alone. Those of
    /// other families do not matter.
    pub(crate) only_for_us: &'a [Forwarder],
}

/// Addresses of one family that begin alike, in the order of bytes of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) family: Family,
    network: Vec<u8>,
    mask: Vec<u8>,
}

impl Range {
    /// The addresses of a subnet, or those of IPv6 that go with them.
    pub(crate) fn new(subnet: Subnet, family: Family) -> Self {
        let (network, mask) = match family {
            Family::Ipv4 => (
                subnet.network().octets().to_vec(),
                subnet.mask().to_be_bytes().to_vec(),
            ),
            Family::Ipv6 => (
                subnet::ipv6(subnet.network()).octets().to_vec(),
                subnet.ipv6_mask().to_be_bytes().to_vec(),
            ),
        };
        Self {
            family,
            network,
            mask,
        }
    }
}

impl Table {
    /// Puts the rules in force, instead of all that an earlier process left of them.
    pub(crate) fn replace(rules: &Rules<'_>) -> io::Result<Self> {
        match Self::make(rules, true) {
            Err(error) if is_unknown(&error) => Self::make(rules, false),
            result => result,
        }
    }

    fn make(rules: &Rules<'_>, owned: bool) -> io::Result<Self> {
        let (family, name) = (rules.range.family, table_name(rules.bridge));
        let mut netlink = Netlink::netfilter()?;
        let mut changes = removal(family, &name);
        changes.push(Message::new_table(family, &name, owned));
        changes.extend(chains(&name, rules));
        netlink.transact(message::batch(changes))?;
        Ok(Self {
            family,
            name,
            netlink,
        })
    }

    /// Ends the rules.
    pub(crate) fn remove(mut self) -> io::Result<()> {
        let changes = removal(self.family, &self.name);
        self.netlink.transact(message::batch(changes))
    }
}

/// Ends the rules of a bridge whose owner is gone.
pub(crate) fn sweep(bridge: &str, family: Family) -> io::Result<()> {
    let changes = removal(family, &table_name(bridge));
    Netlink::netfilter()?.transact(message::batch(changes))
}

fn table_name(bridge: &str) -> String {
    format!("lamina-{bridge}")
}

/// Makes the table, which is nothing if it exists, so that it can be deleted in any case.
fn removal(family: Family, name: &str) -> Vec<Message> {
    vec![
        Message::new_table(family, name, false),
        Message::delete_table(family, name),
    ]
}

/// An old kernel knows no owners of tables.
fn is_unknown(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::OPNOTSUPP | Errno::INVAL))
}

fn chains(table: &str, rules: &Rules<'_>) -> Vec<Message> {
    let mut all = address_translation(table, rules);
    all.extend(forwarding(table, rules));
    all
}

/// What leaves gets the address of the device by which it does.
fn address_translation(table: &str, rules: &Rules<'_>) -> Vec<Message> {
    let chain = Chain {
        family: rules.range.family,
        table,
        name: "postrouting",
        kind: "nat",
        hook: HOOK_POSTROUTING,
        priority: SOURCE_NAT,
    };
    let leaves = [
        expressions::source_in(&rules.range),
        expressions::goes_not_to(rules.bridge),
        expressions::masquerade(),
    ];
    vec![chain.new_chain(), chain.rule(leaves.concat())]
}

/// What may pass from device to device.
fn forwarding(table: &str, rules: &Rules<'_>) -> Vec<Message> {
    let chain = Chain {
        family: rules.range.family,
        table,
        name: "forward",
        kind: "filter",
        hook: HOOK_FORWARD,
        priority: FILTER,
    };
    let bridge = rules.bridge;
    let mut all = vec![
        chain.new_chain(),
        chain.rule(
            [
                expressions::goes_to(bridge),
                expressions::is_answer(),
                expressions::accept(),
            ]
            .concat(),
        ),
        chain.rule([expressions::goes_to(bridge), expressions::drop()].concat()),
    ];
    if rules.range.family == Family::Ipv6 {
        let foreign = [
            expressions::comes_from(bridge),
            expressions::source_not_in(&rules.range),
            expressions::drop(),
        ];
        all.push(chain.rule(foreign.concat()));
    }
    let same = |one: &&Forwarder| one.family == rules.range.family;
    all.extend(rules.only_for_us.iter().filter(same).map(|one| {
        let unasked = [
            expressions::comes_from(&one.device),
            expressions::is_no_answer(),
            expressions::drop(),
        ];
        chain.rule(unasked.concat())
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace;

    /// Deletes the table of `bridge`, which has to exist.
    fn delete(bridge: &str, family: Family) -> io::Result<()> {
        let table = Message::delete_table(family, &table_name(bridge));
        Netlink::netfilter()?.transact(message::batch(vec![table]))
    }

    fn is_missing(deleted: io::Result<()>) -> bool {
        deleted.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    fn skip(lack: &io::Error) {
        #[expect(clippy::print_stdout, reason = "tests say why they did nothing")]
        {
            println!("skipped: {lack}");
        }
    }

    /// Row EXC-29 and the owner of the rules: they are replaced, removed, and gone with their socket.
    fn last_as_long_as_their_owner(family: Family) -> io::Result<()> {
        let only_for_us = [Forwarder::new(family, "eth0")];
        let rules = Rules {
            bridge: "br0",
            range: Range::new(Subnet::usual(0), family),
            only_for_us: &only_for_us,
        };
        drop(Table::make(&rules, false)?);
        delete("br0", family).expect("there without an owner");
        let first = Table::replace(&rules).expect("made");
        drop(first);
        let second = Table::replace(&rules).expect("made again");
        second.remove().expect("removed");
        assert!(is_missing(delete("br0", family)));
        if let Ok(owned) = Table::make(&rules, true) {
            assert!(delete("br0", family).is_err(), "somebody else's");
            drop(owned);
            assert!(is_missing(delete("br0", family)));
        }
        sweep("br0", family).expect("nothing to do");
        Ok(())
    }

    #[test]
    fn rules_last_as_long_as_their_owner() {
        let namespace = match namespace::make() {
            Ok(namespace) => namespace,
            Err(error) => return skip(&error),
        };
        let work = move || {
            namespace::enter(&namespace.fd).expect("entered");
            for family in [Family::Ipv4, Family::Ipv6] {
                if let Err(lack) = last_as_long_as_their_owner(family) {
                    skip(&lack);
                }
            }
        };
        std::thread::spawn(work).join().expect("no panic");
    }
}
