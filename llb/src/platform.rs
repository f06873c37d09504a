//! Platforms on the wire.

use lamina_proto::pb;
use lamina_types::Platform;

/// Returns a platform as messages have it.
#[must_use]
pub fn platform_to_wire(platform: &Platform) -> pb::Platform {
    pb::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
    }
}
