//! Attributes that all image outputs share (rows EIM-05 to EIM-16, EOC-01).

use lamina_content::Compression;

use crate::ExportError;
use crate::ExportInput;
use crate::annotations::Annotations;
use crate::annotations::is_annotation;
use crate::attrs::Attrs;
use crate::epoch::EpochOption;
use crate::pack::Packing;

/// How an image is committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommitOptions {
    /// Comma list of references; `*` = take it from the result.
    pub(crate) name: String,
    pub(crate) packing: Packing,
    /// Write Docker's media types instead of OCI's.
    pub(crate) docker_types: bool,
    pub(crate) epoch: EpochOption,
    pub(crate) annotations: Annotations,
}

impl CommitOptions {
    /// Takes the attributes; `oci-mediatypes` is true unless given.
    pub(crate) fn take(attrs: &mut Attrs) -> Result<Self, ExportError> {
        let mut annotations = Annotations::default();
        for (key, value) in attrs.take_matching(is_annotation) {
            annotations.add(&key, &value)?;
        }
        let packing = take_packing(attrs)?;
        let oci_types = attrs.take_bool("oci-mediatypes", None)?;
        let oci_artifact = attrs.take_bool("oci-artifact", None)?;
        let options = Self {
            name: attrs.take("name").unwrap_or_default(),
            packing,
            docker_types: oci_types == Some(false),
            epoch: EpochOption::take(attrs)?,
            annotations,
        };
        // Attestations are always attached where there are any, and base layers keep their types.
        attrs.take_bool("attestation-inline", None)?;
        attrs.take_bool("prefer-nondist-layers", None)?;
        if attrs.take_bool("rewrite-timestamp", None)? == Some(true) {
            return Err(ExportError::Unsupported {
                option: "rewrite-timestamp=true".to_owned(),
            });
        }
        options.check(oci_artifact)?;
        Ok(options)
    }

    fn check(&self, oci_artifact: Option<bool>) -> Result<(), ExportError> {
        let conflict = |option: &str| {
            ExportError::Conflict(format!(
                "exporter option \"{option}\" conflicts with \"oci-mediatypes=false\""
            ))
        };
        if self.docker_types && matches!(self.packing.compression, Compression::Zstd(_)) {
            return Err(conflict("compression=zstd"));
        }
        if self.docker_types && oci_artifact == Some(true) {
            return Err(conflict("oci-artifact=true"));
        }
        Ok(())
    }

    /// Adds what the result's metadata says, and checks it all against the result.
    pub(crate) fn for_result(&self, input: &ExportInput) -> Result<Self, ExportError> {
        let mut options = self.clone();
        for (key, value) in &input.metadata {
            let value = String::from_utf8_lossy(value);
            options.annotations.add(key, &value)?;
        }
        if let ("*", Some(name)) = (&*options.name, input.metadata_text("image.name")) {
            options.name = name;
        }
        if options.docker_types && options.annotations.need_oci_types() {
            let reason = "cannot export annotations with \"oci-mediatypes=false\"";
            return Err(ExportError::Conflict(reason.to_owned()));
        }
        Ok(options)
    }

    /// Returns the references that are wanted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.name.split(',').filter(|name| !name.is_empty())
    }
}

/// Takes what says how layers are compressed, and whether those that are get converted (row CMP-03).
pub(crate) fn take_packing(attrs: &mut Attrs) -> Result<Packing, ExportError> {
    let compression = match attrs.take("compression").as_deref() {
        None => Compression::default(),
        Some("estargz") => {
            return Err(ExportError::Unsupported {
                option: "compression=estargz".to_owned(),
            });
        }
        Some(text) => text.parse()?,
    };
    let force = match attrs.take("force-compression") {
        None => false,
        // Absent is off; without a value it is on, as BuildKit's clients write it.
        Some(text) if text.is_empty() => true,
        Some(text) => crate::attrs::parse_bool(&text).ok_or_else(|| {
            let reason = format!("non-bool value {text} specified for force-compression");
            ExportError::BadAttribute(reason)
        })?,
    };
    let Some(level) = attrs.take("compression-level") else {
        return Ok(Packing { compression, force });
    };
    let level: i32 = level.parse().map_err(|_| {
        let reason = format!("non-integer value {level} specified for compression-level");
        ExportError::BadAttribute(reason)
    })?;
    let compression = compression.with_level(level);
    Ok(Packing { compression, force })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn take(text: &str) -> Result<CommitOptions, ExportError> {
        let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
        let attrs: BTreeMap<String, String> = pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        CommitOptions::take(&mut Attrs::new(&attrs))
    }

    #[test]
    fn attributes_are_checked() {
        for (attrs, message) in [
            ("compression=lzma", "unsupported compression type lzma"),
            (
                "compression-level=x",
                "non-integer value x specified for compression-level",
            ),
            (
                "force-compression=x",
                "non-bool value x specified for force-compression",
            ),
            (
                "compression=zstd;oci-mediatypes=false",
                "exporter option \"compression=zstd\" conflicts with \"oci-mediatypes=false\"",
            ),
            (
                "oci-artifact=true;oci-mediatypes=false",
                "exporter option \"oci-artifact=true\" conflicts with \"oci-mediatypes=false\"",
            ),
            (
                "rewrite-timestamp=true",
                "exporter option \"rewrite-timestamp=true\" is not supported yet",
            ),
            (
                "compression=estargz",
                "exporter option \"compression=estargz\" is not supported yet",
            ),
            ("annotation-x.k=v", "unrecognized annotation type x"),
        ] {
            assert_eq!(take(attrs).expect_err(attrs).to_string(), message);
        }
    }

    #[test]
    fn defaults_and_levels() {
        let options = take("").expect("is allowed");
        assert_eq!(options.packing.compression, Compression::Gzip(6));
        assert!(!options.docker_types && !options.packing.force);
        let options = take("compression=zstd;compression-level=19;force-compression=");
        let options = options.expect("is allowed");
        assert_eq!(options.packing.compression, Compression::Zstd(19));
        assert!(options.packing.force);
    }
}
