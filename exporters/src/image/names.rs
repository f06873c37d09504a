//! Names of images.

use lamina_registry::ImageReference;

use crate::ExportError;

/// Reads a reference, `:latest` and Docker Hub's parts filled in (row EIM-01).
pub(crate) fn parse_name(name: &str) -> Result<ImageReference, ExportError> {
    let parsed: Result<ImageReference, _> = name.parse();
    parsed.map_err(|error| ExportError::BadName {
        name: name.to_owned(),
        reason: format!("{error}"),
    })
}

/// Reads all of them.
pub(crate) fn parse_names<'a>(
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<ImageReference>, ExportError> {
    names.map(parse_name).collect()
}
