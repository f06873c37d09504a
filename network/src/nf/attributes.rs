//! Attributes of messages: a number, and bytes or further attributes.

use netlink_packet_core::Emitable;
use netlink_packet_core::NLA_F_NESTED;
use netlink_packet_core::Nla;

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    kind: u16,
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Bytes(Vec<u8>),
    Nested(Vec<Attribute>),
}

impl Attribute {
    /// Bytes as they are.
    pub(super) fn bytes(kind: u16, bytes: &[u8]) -> Self {
        let value = Value::Bytes(bytes.to_vec());
        Self { kind, value }
    }

    /// A number in the order of bytes that the network has.
    pub(super) fn number(kind: u16, number: u32) -> Self {
        Self::bytes(kind, &number.to_be_bytes())
    }

    /// A text, closed by a zero.
    pub(super) fn text(kind: u16, text: &str) -> Self {
        Self::bytes(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// Attributes.
    pub(super) fn nested(kind: u16, attributes: Vec<Self>) -> Self {
        let value = Value::Nested(attributes);
        Self { kind, value }
    }
}

impl Nla for Attribute {
    fn kind(&self) -> u16 {
        match self.value {
            Value::Bytes(_) => self.kind,
            Value::Nested(_) => self.kind | NLA_F_NESTED,
        }
    }

    fn value_len(&self) -> usize {
        match &self.value {
            Value::Bytes(bytes) => bytes.len(),
            Value::Nested(attributes) => attributes.as_slice().buffer_len(),
        }
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        match &self.value {
            Value::Bytes(bytes) => buffer[..bytes.len()].copy_from_slice(bytes),
            Value::Nested(attributes) => attributes.as_slice().emit(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested_ones_marked() {
        let attribute =
            Attribute::nested(2, vec![Attribute::text(1, "ab"), Attribute::number(3, 4)]);
        let mut bytes = vec![0xff; attribute.buffer_len()];
        attribute.emit(&mut bytes);
        let mut expected = Vec::new();
        expected.extend(20u16.to_ne_bytes());
        expected.extend(0x8002u16.to_ne_bytes());
        expected.extend(7u16.to_ne_bytes());
        expected.extend(1u16.to_ne_bytes());
        expected.extend(*b"ab\0\0");
        expected.extend(8u16.to_ne_bytes());
        expected.extend(3u16.to_ne_bytes());
        expected.extend([0, 0, 0, 4]);
        assert_eq!(bytes, expected);
    }
}
