//! `annotation[-<type>][[<platform>]].<key>` (rows EIM-16 and RMD-06).

use std::collections::BTreeMap;

use lamina_types::Platform;

use crate::ExportError;

type Texts = BTreeMap<String, String>;

/// All annotations of an output or a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Annotations {
    pub(crate) index: Texts,
    pub(crate) index_descriptor: Texts,
    /// By platform; empty for all platforms.
    manifest: BTreeMap<String, Texts>,
    manifest_descriptor: BTreeMap<String, Texts>,
}

/// The parts of a key.
struct Key<'a> {
    kind: &'a str,
    platform: &'a str,
    name: &'a str,
}

/// Says whether an attribute or a metadata key is an annotation.
pub(crate) fn is_annotation(key: &str) -> bool {
    split(key).is_some()
}

fn split(key: &str) -> Option<Key<'_>> {
    let rest = key.strip_prefix("annotation")?;
    let (kind, rest) = match rest.strip_prefix('-') {
        Some(rest) => {
            let is_end = |c: char| !(c.is_ascii_lowercase() || c == '-');
            let (kind, rest) = rest.split_at(rest.find(is_end)?);
            (Some(kind), rest)
        }
        None => (None, rest),
    };
    let (platform, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (platform, rest) = rest.split_once(']')?;
            (Some(platform), rest)
        }
        None => (None, rest),
    };
    let name = rest.strip_prefix('.')?;
    let in_platform = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '-');
    let well_formed = kind != Some("")
        && platform != Some("")
        && platform.is_none_or(|platform| platform.chars().all(in_platform))
        && !name.is_empty()
        && !name.contains(char::is_whitespace);
    well_formed.then_some(Key {
        kind: kind.unwrap_or(""),
        platform: platform.unwrap_or(""),
        name,
    })
}

impl Annotations {
    /// Adds an annotation; other keys are ignored.
    ///
    /// # Errors
    /// If the type is unknown or the platform malformed.
    pub(crate) fn add(&mut self, key: &str, value: &str) -> Result<(), ExportError> {
        let Some(parts) = split(key) else {
            return Ok(());
        };
        let platform = platform_key(parts.platform)?;
        let texts = match parts.kind {
            "" | "manifest" => self.manifest.entry(platform).or_default(),
            "manifest-descriptor" => self.manifest_descriptor.entry(platform).or_default(),
            "index" => &mut self.index,
            "index-descriptor" => &mut self.index_descriptor,
            other => {
                let reason = format!("unrecognized annotation type {other}");
                return Err(ExportError::BadAttribute(reason));
            }
        };
        texts.insert(parts.name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Returns the annotations of a platform's manifest.
    pub(crate) fn manifest(&self, platform: Option<&Platform>) -> Texts {
        for_platform(&self.manifest, platform)
    }

    /// Returns the annotations of the descriptor of a platform's manifest.
    pub(crate) fn manifest_descriptor(&self, platform: Option<&Platform>) -> Texts {
        for_platform(&self.manifest_descriptor, platform)
    }

    /// Says whether anything but manifests is annotated.
    pub(crate) fn need_oci_types(&self) -> bool {
        !self.index.is_empty()
            || !self.index_descriptor.is_empty()
            || !self.manifest_descriptor.is_empty()
    }

    /// Returns the platforms that are named.
    pub(crate) fn platforms(&self) -> impl Iterator<Item = &str> {
        let named = self.manifest.keys().chain(self.manifest_descriptor.keys());
        named.map(String::as_str).filter(|key| !key.is_empty())
    }
}

fn platform_key(text: &str) -> Result<String, ExportError> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let platform: Platform = text
        .parse()
        .map_err(|error| ExportError::BadAttribute(format!("{error}")))?;
    Ok(platform.to_string())
}

fn for_platform(by_platform: &BTreeMap<String, Texts>, platform: Option<&Platform>) -> Texts {
    let mut texts = by_platform.get("").cloned().unwrap_or_default();
    let own = platform.and_then(|platform| by_platform.get(&platform.to_string()));
    texts.extend(own.cloned().unwrap_or_default());
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        for (key, wanted) in [
            ("annotation.a", true),
            ("annotation-index.a.b", true),
            ("annotation.a[]", true),
            ("annotation[linux/amd64].a", true),
            ("annotation-manifest-descriptor[linux/arm/v7].a", true),
            ("annotation", false),
            ("annotation.", false),
            ("annotation.a b", false),
            ("annotation-.a", false),
            ("annotation[].a", false),
            ("annotation[a b].a", false),
            ("annotations.a", false),
        ] {
            assert_eq!(is_annotation(key), wanted, "{key}");
        }
    }

    #[test]
    fn platforms_get_their_own_and_the_common_ones() {
        let mut annotations = Annotations::default();
        for (key, value) in [
            ("annotation.a", "1"),
            ("annotation[linux/aarch64].b", "2"),
            ("annotation-index.c", "3"),
        ] {
            annotations.add(key, value).expect("is well formed");
        }
        let arm = Platform::new("linux", "arm64", "");
        let texts = |platform| Vec::from_iter(annotations.manifest(platform).into_keys());
        assert_eq!(texts(None), ["a"]);
        assert_eq!(texts(Some(&arm)), ["a", "b"]);
        assert!(annotations.need_oci_types());
        let error = annotations.add("annotation-layer.x", "").expect_err("type");
        assert_eq!(error.to_string(), "unrecognized annotation type layer");
    }
}
