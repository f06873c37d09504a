//! What rules are made of: each loads something, compares it, or decides.
//!
//! A comparison that fails ends the rule. Numbers are the kernel's (`linux/netfilter/nf_tables.h`).

use super::Range;
use super::attributes::Attribute;
use crate::forwarding::Family;

const LIST_ELEMENT: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;

/// Where values are put, and where a decision goes.
const REGISTER: u32 = 1;
const VERDICT_REGISTER: u32 = 0;

const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

const META_DESTINATION: u16 = 1;
const META_KEY: u16 = 2;
const INPUT_NAME: u32 = 6;
const OUTPUT_NAME: u32 = 7;

const CMP_SOURCE: u16 = 1;
const CMP_OPERATION: u16 = 2;
const CMP_DATA: u16 = 3;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

const PAYLOAD_DESTINATION: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LENGTH: u16 = 4;
const NETWORK_HEADER: u32 = 1;
/// Of the source in the header.
const IPV4_SOURCE_OFFSET: u32 = 12;
const IPV6_SOURCE_OFFSET: u32 = 8;

const BITWISE_SOURCE: u16 = 1;
const BITWISE_DESTINATION: u16 = 2;
const BITWISE_LENGTH: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;

const CT_DESTINATION: u16 = 1;
const CT_KEY: u16 = 2;
const CT_STATE: u32 = 0;
/// The bits "established" and "related".
const ANSWERS: u32 = 2 | 4;

const IMMEDIATE_DESTINATION: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;

/// Bytes of an IPv4 address and of other numbers.
const WORD: u32 = 4;

/// Bytes of an IPv6 address.
const IPV6_BYTES: u32 = 16;

/// Bytes of a device's name, with zeros at the end.
const NAME_BYTES: usize = 16;

/// The packet's source is in `range`.
pub(super) fn source_in(range: &Range) -> Vec<Attribute> {
    by_source(range, EQUAL)
}

/// The packet's source is not in `range`.
pub(super) fn source_not_in(range: &Range) -> Vec<Attribute> {
    by_source(range, NOT_EQUAL)
}

fn by_source(range: &Range, operation: u32) -> Vec<Attribute> {
    let (offset, length) = match range.family {
        Family::Ipv4 => (IPV4_SOURCE_OFFSET, WORD),
        Family::Ipv6 => (IPV6_SOURCE_OFFSET, IPV6_BYTES),
    };
    let load = vec![
        Attribute::number(PAYLOAD_DESTINATION, REGISTER),
        Attribute::number(PAYLOAD_BASE, NETWORK_HEADER),
        Attribute::number(PAYLOAD_OFFSET, offset),
        Attribute::number(PAYLOAD_LENGTH, length),
    ];
    vec![
        expression("payload", load),
        mask(length, &range.mask),
        compare(operation, &range.network),
    ]
}

/// The packet will leave by `device`.
pub(super) fn goes_to(device: &str) -> Vec<Attribute> {
    by_name(OUTPUT_NAME, EQUAL, device)
}

/// The packet will leave by another device than `device`.
pub(super) fn goes_not_to(device: &str) -> Vec<Attribute> {
    by_name(OUTPUT_NAME, NOT_EQUAL, device)
}

/// The packet came in by `device`.
pub(super) fn comes_from(device: &str) -> Vec<Attribute> {
    by_name(INPUT_NAME, EQUAL, device)
}

/// The packet belongs to a connection that was begun from the other side.
pub(super) fn is_answer() -> Vec<Attribute> {
    by_state(NOT_EQUAL)
}

/// The packet begins a connection, or belongs to none.
pub(super) fn is_no_answer() -> Vec<Attribute> {
    by_state(EQUAL)
}

/// Compares the bits of [`ANSWERS`] in the state of the packet's connection with none.
fn by_state(operation: u32) -> Vec<Attribute> {
    let load = vec![
        Attribute::number(CT_DESTINATION, REGISTER),
        Attribute::number(CT_KEY, CT_STATE),
    ];
    // States are in the order of bytes of this machine.
    vec![
        expression("ct", load),
        mask(WORD, &ANSWERS.to_ne_bytes()),
        compare(operation, &[0; 4]),
    ]
}

/// Gives the packet the address of the device that it leaves by.
pub(super) fn masquerade() -> Vec<Attribute> {
    vec![expression("masq", Vec::new())]
}

/// Lets the packet pass.
pub(super) fn accept() -> Vec<Attribute> {
    decide(ACCEPT)
}

/// Ends the packet.
pub(super) fn drop() -> Vec<Attribute> {
    decide(DROP)
}

fn by_name(key: u32, operation: u32, device: &str) -> Vec<Attribute> {
    let load = vec![
        Attribute::number(META_DESTINATION, REGISTER),
        Attribute::number(META_KEY, key),
    ];
    let mut name = device.as_bytes().to_vec();
    name.resize(NAME_BYTES, 0);
    vec![expression("meta", load), compare(operation, &name)]
}

fn mask(length: u32, mask: &[u8]) -> Attribute {
    let nothing = vec![0; mask.len()];
    let attributes = vec![
        Attribute::number(BITWISE_SOURCE, REGISTER),
        Attribute::number(BITWISE_DESTINATION, REGISTER),
        Attribute::number(BITWISE_LENGTH, length),
        Attribute::nested(BITWISE_MASK, vec![Attribute::bytes(DATA_VALUE, mask)]),
        Attribute::nested(BITWISE_XOR, vec![Attribute::bytes(DATA_VALUE, &nothing)]),
    ];
    expression("bitwise", attributes)
}

fn compare(operation: u32, value: &[u8]) -> Attribute {
    let attributes = vec![
        Attribute::number(CMP_SOURCE, REGISTER),
        Attribute::number(CMP_OPERATION, operation),
        Attribute::nested(CMP_DATA, vec![Attribute::bytes(DATA_VALUE, value)]),
    ];
    expression("cmp", attributes)
}

fn decide(code: u32) -> Vec<Attribute> {
    let verdict = vec![Attribute::number(VERDICT_CODE, code)];
    let attributes = vec![
        Attribute::number(IMMEDIATE_DESTINATION, VERDICT_REGISTER),
        Attribute::nested(
            IMMEDIATE_DATA,
            vec![Attribute::nested(DATA_VERDICT, verdict)],
        ),
    ];
    vec![expression("immediate", attributes)]
}

fn expression(name: &str, attributes: Vec<Attribute>) -> Attribute {
    let parts = vec![
        Attribute::text(NAME, name),
        Attribute::nested(DATA, attributes),
    ];
    Attribute::nested(LIST_ELEMENT, parts)
}
