//! The messages of a transaction.
//!
//! Each begins with four bytes: the family of addresses, a version, and a number that only the first
//! and the last use, for which subsystem the messages between them are.

use netlink_packet_core::Emitable;
use netlink_packet_core::NLM_F_ACK;
use netlink_packet_core::NLM_F_APPEND;
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_core::NetlinkSerializable;

use super::attributes::Attribute;
use crate::forwarding::Family;

/// The subsystem nf_tables.
const NF_TABLES: u16 = 10;

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = NF_TABLES << 8;
const DELETE_TABLE: u16 = (NF_TABLES << 8) | 2;
const NEW_CHAIN: u16 = (NF_TABLES << 8) | 3;
const NEW_RULE: u16 = (NF_TABLES << 8) | 6;

const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
/// The table goes with the socket that made it.
const TABLE_HAS_OWNER: u32 = 2;

const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;

const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;

const FAMILY_NONE: u8 = 0;
const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;

const HEADER_BYTES: usize = 4;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    kind: u16,
    flags: u16,
    family: u8,
    number: u16,
    attributes: Vec<Attribute>,
}

/// Puts `changes` into a transaction, with the flags of each message. The last change is the one
/// that is acknowledged.
pub(super) fn batch(mut changes: Vec<Message>) -> Vec<(Message, u16)> {
    if let Some(last) = changes.last_mut() {
        last.flags |= NLM_F_ACK;
    }
    let mut all = vec![Message::boundary(BATCH_BEGIN)];
    all.append(&mut changes);
    all.push(Message::boundary(BATCH_END));
    all.into_iter()
        .map(|message| {
            let flags = message.flags;
            (message, flags)
        })
        .collect()
}

impl Message {
    fn boundary(kind: u16) -> Self {
        Self {
            kind,
            flags: 0,
            family: FAMILY_NONE,
            number: NF_TABLES,
            attributes: Vec::new(),
        }
    }

    fn change(kind: u16, flags: u16, family: Family, attributes: Vec<Attribute>) -> Self {
        Self {
            kind,
            flags,
            family: match family {
                Family::Ipv4 => FAMILY_IPV4,
                Family::Ipv6 => FAMILY_IPV6,
            },
            number: 0,
            attributes,
        }
    }

    /// Makes a table, unless it exists.
    pub(super) fn new_table(family: Family, name: &str, owned: bool) -> Self {
        let mut attributes = vec![Attribute::text(TABLE_NAME, name)];
        if owned {
            attributes.push(Attribute::number(TABLE_FLAGS, TABLE_HAS_OWNER));
        }
        Self::change(NEW_TABLE, NLM_F_CREATE, family, attributes)
    }

    /// Deletes a table with all that is in it.
    pub(super) fn delete_table(family: Family, name: &str) -> Self {
        let attributes = vec![Attribute::text(TABLE_NAME, name)];
        Self::change(DELETE_TABLE, 0, family, attributes)
    }
}

/// A chain that the kernel asks about packets; what no rule decides passes.
#[derive(Clone, Copy)]
pub(super) struct Chain<'a> {
    pub(super) family: Family,
    pub(super) table: &'a str,
    pub(super) name: &'a str,
    pub(super) kind: &'a str,
    pub(super) hook: u32,
    pub(super) priority: i32,
}

impl Chain<'_> {
    /// Makes the chain.
    pub(super) fn new_chain(&self) -> Message {
        let hook = vec![
            Attribute::number(HOOK_NUMBER, self.hook),
            Attribute::bytes(HOOK_PRIORITY, &self.priority.to_be_bytes()),
        ];
        let attributes = vec![
            Attribute::text(CHAIN_TABLE, self.table),
            Attribute::text(CHAIN_NAME, self.name),
            Attribute::nested(CHAIN_HOOK, hook),
            Attribute::text(CHAIN_TYPE, self.kind),
        ];
        Message::change(NEW_CHAIN, NLM_F_CREATE, self.family, attributes)
    }

    /// Adds a rule at the end of the chain.
    pub(super) fn rule(&self, expressions: Vec<Attribute>) -> Message {
        let attributes = vec![
            Attribute::text(RULE_TABLE, self.table),
            Attribute::text(RULE_CHAIN, self.name),
            Attribute::nested(RULE_EXPRESSIONS, expressions),
        ];
        let flags = NLM_F_CREATE | NLM_F_APPEND;
        Message::change(NEW_RULE, flags, self.family, attributes)
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        HEADER_BYTES + self.attributes.as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let [high, low] = self.number.to_be_bytes();
        buffer[..HEADER_BYTES].copy_from_slice(&[self.family, 0, high, low]);
        self.attributes.as_slice().emit(&mut buffer[HEADER_BYTES..]);
    }
}
