//! Packet filters: one table of ours per bridge (nf_tables).
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
//! A table is replaced as a whole, in one transaction. It belongs to the socket that made it, so the
//! kernel removes it when this process ends, however it ends; kernels before 5.12 have no owners, and
//! there the next process does it.

mod attributes;
mod expressions;
mod message;

use std::io;

use rustix::io::Errno;

use crate::Subnet;
use crate::netlink::Netlink;
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
    name: String,
    /// The owner.
    netlink: Netlink,
}

/// What the rules are about.
pub(crate) struct Rules<'a> {
    pub(crate) bridge: &'a str,
    pub(crate) subnet: Subnet,
    /// Devices that would not have forwarded anything without us; they pass on answers alone.
    pub(crate) only_for_us: &'a [String],
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
        let name = table_name(rules.bridge);
        let mut netlink = Netlink::netfilter()?;
        let mut changes = removal(&name);
        changes.push(Message::new_table(&name, owned));
        changes.extend(chains(&name, rules));
        netlink.transact(message::batch(changes))?;
        Ok(Self { name, netlink })
    }

    /// Ends the rules.
    pub(crate) fn remove(mut self) -> io::Result<()> {
        let changes = removal(&self.name);
        self.netlink.transact(message::batch(changes))
    }
}

/// Ends the rules of a bridge whose owner is gone.
pub(crate) fn sweep(bridge: &str) -> io::Result<()> {
    let changes = removal(&table_name(bridge));
    Netlink::netfilter()?.transact(message::batch(changes))
}

fn table_name(bridge: &str) -> String {
    format!("lamina-{bridge}")
}

/// Makes the table, which is nothing if it exists, so that it can be deleted in any case.
fn removal(name: &str) -> Vec<Message> {
    vec![Message::new_table(name, false), Message::delete_table(name)]
}

/// An old kernel knows no owners of tables.
fn is_unknown(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::OPNOTSUPP | Errno::INVAL))
}

fn chains(table: &str, rules: &Rules<'_>) -> Vec<Message> {
    let postrouting = Chain {
        table,
        name: "postrouting",
        kind: "nat",
        hook: HOOK_POSTROUTING,
        priority: SOURCE_NAT,
    };
    let forward = Chain {
        table,
        name: "forward",
        kind: "filter",
        hook: HOOK_FORWARD,
        priority: FILTER,
    };
    let bridge = rules.bridge;
    let mut all = vec![
        postrouting.new_chain(),
        postrouting.rule(
            [
                expressions::source_in(rules.subnet),
                expressions::goes_not_to(bridge),
                expressions::masquerade(),
            ]
            .concat(),
        ),
        forward.new_chain(),
        forward.rule(
            [
                expressions::goes_to(bridge),
                expressions::is_answer(),
                expressions::accept(),
            ]
            .concat(),
        ),
        forward.rule([expressions::goes_to(bridge), expressions::drop()].concat()),
    ];
    all.extend(rules.only_for_us.iter().map(|device| {
        forward.rule(
            [
                expressions::comes_from(device),
                expressions::is_no_answer(),
                expressions::drop(),
            ]
            .concat(),
        )
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace;

    /// Deletes the table of `bridge`, which has to exist.
    fn delete(bridge: &str) -> io::Result<()> {
        let table = Message::delete_table(&table_name(bridge));
        Netlink::netfilter()?.transact(message::batch(vec![table]))
    }

    fn is_missing(deleted: io::Result<()>) -> bool {
        deleted.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Rows EXC-29 and the owner of the rules: they are replaced, removed, and gone with their socket.
    #[test]
    fn rules_last_as_long_as_their_owner() {
        let lack = |error: io::Error| {
            #[expect(clippy::print_stdout, reason = "tests say why they did nothing")]
            {
                println!("skipped: {error}");
            }
        };
        let namespace = match namespace::make() {
            Ok(namespace) => namespace,
            Err(error) => return lack(error),
        };
        let work = move || {
            namespace::enter(&namespace.fd).expect("entered");
            let only_for_us = ["eth0".to_owned()];
            let rules = Rules {
                bridge: "br0",
                subnet: Subnet::usual(0),
                only_for_us: &only_for_us,
            };
            let table = match Table::make(&rules, false) {
                Ok(table) => table,
                Err(error) => return lack(error),
            };
            drop(table);
            delete("br0").expect("there without an owner");
            let first = Table::replace(&rules).expect("made");
            drop(first);
            let second = Table::replace(&rules).expect("made again");
            second.remove().expect("removed");
            assert!(is_missing(delete("br0")));
            let Ok(owned) = Table::make(&rules, true) else {
                return;
            };
            assert!(delete("br0").is_err(), "somebody else's");
            drop(owned);
            assert!(is_missing(delete("br0")));
            sweep("br0").expect("nothing to do");
        };
        std::thread::spawn(work).join().expect("no panic");
    }
}
