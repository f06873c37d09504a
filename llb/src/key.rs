//! Cache keys of ops: hashes over what decides a result.

use lamina_types::Digest;
use lamina_types::Platform;
use lamina_types::Sha256Hasher;
use prost::Message;

/// Hashes fields one after the other, each with its length, below the name of a kind of op.
pub(crate) struct KeyHasher(Sha256Hasher);

impl KeyHasher {
    /// Starts a key of the kind `kind`; keys of different kinds never meet.
    pub(crate) fn new(kind: &str) -> Self {
        let mut hasher = Sha256Hasher::new();
        hasher.update_field(kind.as_bytes());
        Self(hasher)
    }

    pub(crate) fn field(mut self, data: &[u8]) -> Self {
        self.0.update_field(data);
        self
    }

    /// Appends the encoding of `message`: our types use ordered maps, so it is deterministic.
    pub(crate) fn message(self, message: &impl Message) -> Self {
        self.field(&message.encode_to_vec())
    }

    pub(crate) fn platform(self, platform: &Platform) -> Self {
        let features = platform.os_features.join("\0");
        self.field(platform.os.as_bytes())
            .field(platform.architecture.as_bytes())
            .field(platform.variant.as_bytes())
            .field(platform.os_version.as_bytes())
            .field(features.as_bytes())
    }

    pub(crate) fn finish(self) -> Digest {
        self.0.finish()
    }
}
