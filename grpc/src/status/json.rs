//! The two JSON dialects of details (row NET-11).
//!
//! Both are written and read by means of the descriptors, so every field of every message is
//! covered: names as in the `.proto` files, numbers as numbers and enums as numbers in the plain
//! dialect; the proto3 mapping for `errdefs.Solve`.

use std::sync::LazyLock;

use lamina_content::to_go_json;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_reflect::DeserializeOptions;
use prost_reflect::DynamicMessage;
use prost_reflect::Kind;
use prost_reflect::MessageDescriptor;
use prost_reflect::ReflectMessage as _;
use prost_reflect::SerializeOptions;
use serde_json::Value;
use serde_json::value;

/// How a message is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    /// As Go's `encoding/json` writes the generated structs.
    Plain,
    /// The mapping that proto3 defines.
    Proto3,
}

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(lamina_proto::DESCRIPTORS);
    pool.expect("the build has checked the descriptors")
});

/// Returns a message of the contract; `name` is one of this crate's.
fn descriptor(name: &str) -> MessageDescriptor {
    let message = POOL.get_message_by_name(name);
    message.expect("details are messages of the contract")
}

/// Writes `message`, whose full name is `name`; `None` if it nests deeper than can be read again.
pub(super) fn write(name: &str, message: &impl Message, dialect: Dialect) -> Option<Vec<u8>> {
    let encoded = message.encode_to_vec();
    let dynamic = DynamicMessage::decode(descriptor(name), encoded.as_slice()).ok()?;
    let options = match dialect {
        Dialect::Proto3 => SerializeOptions::new(),
        Dialect::Plain => SerializeOptions::new()
            .use_proto_field_name(true)
            .stringify_64_bit_integers(false)
            .use_enum_numbers(true),
    };
    let serialized = dynamic.serialize_with_options(value::Serializer, &options);
    let mut json = serialized.ok()?;
    sort_maps(&mut json, &dynamic.descriptor());
    to_go_json(&json).ok()
}

/// Puts the entries of maps in the order of their keys; the fields of messages keep theirs.
fn sort_maps(json: &mut Value, message: &MessageDescriptor) {
    for field in message.fields() {
        let name = match json.get(field.name()) {
            Some(_) => field.name(),
            None => field.json_name(),
        };
        let (Some(json), Kind::Message(of)) = (json.get_mut(name), field.kind()) else {
            continue;
        };
        match json {
            Value::Object(entries) if field.is_map() => {
                entries.sort_keys();
                if let Kind::Message(of) = of.map_entry_value_field().kind() {
                    entries.values_mut().for_each(|json| sort_maps(json, &of));
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|json| sort_maps(json, &of)),
            json => sort_maps(json, &of),
        }
    }
}

/// Reads a message in either dialect; what it does not know is skipped.
pub(super) fn read<M: Message + Default>(name: &str, json: &[u8]) -> Option<M> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let dynamic =
        DynamicMessage::deserialize_with_options(descriptor(name), &mut deserializer, &options);
    dynamic.ok()?.transcode_to().ok()
}
