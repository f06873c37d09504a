//! The contract of exporters, and how one is chosen.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::ExportContext;
use crate::ExportError;
use crate::ExportInput;
use crate::image::ArchiveExporter;
use crate::image::ArchiveFormat;
use crate::image::ImageExporter;
use crate::local::LocalExporter;
use crate::tar::TarExporter;
use crate::trees::TreeOutput;

/// Hands a result to whoever asked for it.
///
/// An exporter is made from attributes once and may be used for several results. It changes
/// nothing but its target and, for images, the content store.
#[async_trait]
pub trait Exporter: Send + Sync {
    /// Says what it does, for progress: "exporting to oci image format".
    fn name(&self) -> &'static str;

    /// Exports `input` and returns the response keys of row EIM-18.
    ///
    /// # Errors
    /// Whatever stands in the way. Archives leave nothing behind then; a directory keeps what was
    /// written; a registry keeps the blobs that it has.
    async fn export(
        &self,
        input: &ExportInput,
        context: &ExportContext,
    ) -> Result<BTreeMap<String, String>, ExportError>;
}

/// Makes the exporter of type `kind` from its attributes. `index` tells the session which of the
/// build's outputs it is.
///
/// Attributes that a type does not know are no errors (row EIM-17); `dest` belongs to the client
/// (rows EOC-03 and ELO-01).
///
/// # Errors
/// [`ExportError::UnknownExporter`]; an attribute with a wrong value; attributes that conflict.
pub fn parse(
    kind: &str,
    attrs: &BTreeMap<String, String>,
    index: usize,
) -> Result<Box<dyn Exporter>, ExportError> {
    match kind {
        "image" => Ok(Box::new(ImageExporter::parse(attrs)?)),
        "oci" => archive(ArchiveFormat::Oci, attrs, index),
        "docker" => archive(ArchiveFormat::Docker, attrs, index),
        "local" => Ok(Box::new(LocalExporter(TreeOutput::parse(attrs, index)?))),
        "tar" => Ok(Box::new(TarExporter(TreeOutput::parse(attrs, index)?))),
        _ => Err(ExportError::UnknownExporter {
            kind: kind.to_owned(),
        }),
    }
}

fn archive(
    format: ArchiveFormat,
    attrs: &BTreeMap<String, String>,
    index: usize,
) -> Result<Box<dyn Exporter>, ExportError> {
    Ok(Box::new(ArchiveExporter::parse(format, attrs, index)?))
}
