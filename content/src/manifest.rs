//! Descriptors, manifests and indexes: the tree of blobs that an image is.
//!
//! Fields are in the order in which Go's OCI types write them. Unknown fields of manifests and
//! indexes survive a round trip.

use std::collections::BTreeMap;

use lamina_types::Digest;
use lamina_types::Platform;
use serde::Deserialize;
use serde::Serialize;

use crate::serde_go::null_as_default;

/// Points to a blob and says what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is; see [`crate::media_type`].
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Where else it may be fetched: foreign layers.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub urls: Vec<String>,
    /// Free text about the blob.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// What a manifest in an index runs on.
    #[serde(default, with = "go_platform", skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What an artifact manifest holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// Returns a descriptor with nothing but the three parts that every one has.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// Returns the descriptor of `data`.
    pub fn of(media_type: impl Into<String>, data: &[u8]) -> Self {
        Self::new(media_type, Digest::of(data), data.len() as u64)
    }
}

/// Lists the config and the layers of an image for one platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Its own media type; older writers leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// The layers, bottom first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub layers: Vec<Descriptor>,
    /// Free text about the image.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

impl Manifest {
    /// Returns a manifest without annotations.
    pub fn new(media_type: &str, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type.to_owned()),
            config,
            layers,
            annotations: BTreeMap::new(),
            other: BTreeMap::new(),
        }
    }
}

/// Lists manifests, one for each platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Its own media type; older writers leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests, or further indexes.
    #[serde(default, deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// Free text about the index.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

impl Index {
    /// Returns an index without annotations.
    pub fn new(media_type: &str, manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type.to_owned()),
            manifests,
            annotations: BTreeMap::new(),
            other: BTreeMap::new(),
        }
    }
}

/// Platforms in the field order of Go's type.
mod go_platform {
    use lamina_types::Platform;
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serialize;
    use serde::Serializer;

    #[derive(Serialize)]
    struct GoPlatform<'a> {
        architecture: &'a str,
        os: &'a str,
        #[serde(rename = "os.version", skip_serializing_if = "str::is_empty")]
        os_version: &'a str,
        #[serde(rename = "os.features", skip_serializing_if = "<[String]>::is_empty")]
        os_features: &'a [String],
        #[serde(skip_serializing_if = "str::is_empty")]
        variant: &'a str,
    }

    pub(super) fn serialize<S: Serializer>(
        platform: &Option<Platform>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        platform
            .as_ref()
            .map(|platform| GoPlatform {
                architecture: &platform.architecture,
                os: &platform.os,
                os_version: &platform.os_version,
                os_features: &platform.os_features,
                variant: &platform.variant,
            })
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Platform>, D::Error> {
        Option::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type;
    use crate::serde_go::to_go_json;

    #[test]
    fn manifests_look_as_go_writes_them() {
        let mut layer = Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer");
        layer.annotations.insert("k".to_owned(), "v".to_owned());
        let mut config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
        config.platform = Some(Platform::new("linux", "arm", "v7"));
        let manifest = Manifest::new(media_type::OCI_MANIFEST, config, vec![layer]);
        let text =
            String::from_utf8(to_go_json(&manifest).expect("has a JSON form")).expect("is text");
        assert_eq!(
            text,
            format!(
                "{{\"schemaVersion\":2,\"mediaType\":\"{}\",\"config\":{{\"mediaType\":\"{}\",\
                 \"digest\":\"{}\",\"size\":2,\"platform\":{{\"architecture\":\"arm\",\"os\":\"linux\",\
                 \"variant\":\"v7\"}}}},\"layers\":[{{\"mediaType\":\"{}\",\"digest\":\"{}\",\"size\":5,\
                 \"annotations\":{{\"k\":\"v\"}}}}]}}",
                media_type::OCI_MANIFEST,
                media_type::OCI_CONFIG,
                Digest::of(b"{}"),
                media_type::OCI_LAYER_GZIP,
                Digest::of(b"layer"),
            )
        );
    }

    #[test]
    fn null_and_unknown_fields_are_taken() {
        let text = r#"{"schemaVersion":2,"manifests":null,"annotations":null,"subject":{"x":1}}"#;
        let index: Index = serde_json::from_str(text).expect("is an index");
        assert!(index.manifests.is_empty());
        let again = serde_json::to_value(&index).expect("has a JSON form");
        assert_eq!(again["subject"]["x"], 1);
    }
}
