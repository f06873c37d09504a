//! Source ops (section 6.3), as far as this crate reads them: the rest is up to the source.

use std::collections::BTreeMap;

use lamina_proto::pb;
use lamina_types::Platform;

use super::SpecError;

/// Something from outside the graph.
#[derive(Debug)]
pub(crate) struct SourceStep {
    /// `scheme://rest`.
    pub(crate) identifier: String,
    pub(crate) attrs: BTreeMap<String, String>,
    pub(crate) platform: Platform,
}

impl SourceStep {
    pub(crate) fn parse(op: pb::SourceOp, platform: &Platform) -> Result<Self, SpecError> {
        if op.identifier.is_empty() {
            return Err(SpecError::missing("source", "identifier"));
        }
        Ok(Self {
            identifier: op.identifier,
            attrs: op.attrs,
            platform: platform.clone(),
        })
    }
}
