//! Details of errors that are whole messages, read by means of the descriptors.

use std::sync::LazyLock;

use lamina_proto::errdefs;
use prost_reflect::DescriptorPool;
use prost_reflect::DeserializeOptions;
use prost_reflect::DynamicMessage;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(lamina_proto::DESCRIPTORS);
    pool.expect("the build has checked the descriptors")
});

/// Reads what is left of an op (row ERR-03); what is not known here is skipped.
pub(crate) fn solve(json: &[u8]) -> Option<errdefs::Solve> {
    let message = POOL.get_message_by_name("errdefs.Solve")?;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let solve = DynamicMessage::deserialize_with_options(message, &mut deserializer, &options);
    solve.ok()?.transcode_to().ok()
}
