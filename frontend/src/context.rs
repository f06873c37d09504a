//! Named contexts, as options give them: `context:<name>=<kind>:<value>` (rows FDF-22 to FDF-24).
//!
//! They replace stages and images of a Dockerfile, and the image of a gateway frontend (FGW-05).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lamina_content::ImageConfig;
use lamina_types::Platform;

use crate::error::FrontendError;
use crate::error::Result;
use crate::platform::format_all;
use crate::reference::ImageName;

/// An option `context:<name>=<value>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NamedContext {
    /// The name, with the platform if the option has it.
    pub(crate) name: String,
    /// The short name alone.
    pub(crate) familiar: String,
    pub(crate) value: String,
}

/// An image in a layout that the client serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Layout<'a> {
    /// What the client calls the layout.
    pub(crate) store: &'a str,
    digest: &'a str,
    /// The image under the name of the context.
    pub(crate) shown: String,
}

impl Layout<'_> {
    /// Returns the reference by which the engine looks the image up.
    pub(crate) fn asked(&self) -> String {
        format!("{}@{}", self.store, self.digest)
    }
}

impl NamedContext {
    /// Returns the context called `name`, if there is one. The option with the platform in its
    /// name wins.
    ///
    /// # Errors
    /// If `name` is no name of an image.
    pub(crate) fn find(
        options: &BTreeMap<String, String>,
        name: &str,
        platform: &Platform,
    ) -> std::result::Result<Option<Self>, FrontendError> {
        let reference = ImageName::parse(name).map_err(|source| FrontendError::ContextName {
            name: name.to_owned(),
            source,
        })?;
        let familiar = reference.familiar();
        let familiar = familiar.strip_suffix(":latest").unwrap_or(&familiar);
        let with_platform = format!("{familiar}::{}", format_all(platform));
        let names = [with_platform, familiar.to_owned()];
        Ok(names.into_iter().find_map(|name| {
            let value = options.get(&format!("context:{name}"))?.clone();
            Some(Self {
                name,
                familiar: familiar.to_owned(),
                value,
            })
        }))
    }

    /// Returns the kind and what follows it.
    ///
    /// # Errors
    /// If there is no kind.
    pub(crate) fn split(&self) -> std::result::Result<(&str, &str), FrontendError> {
        let wrong = || FrontendError::ContextSpecifier {
            value: self.value.clone(),
            name: self.name.clone(),
        };
        self.value.split_once(':').ok_or_else(wrong)
    }

    /// Reads the reference of a context in a layout: `store@digest`, or `store:tag@digest`.
    ///
    /// # Errors
    /// If there is no digest.
    pub(crate) fn layout<'a>(
        &self,
        reference: &'a str,
    ) -> std::result::Result<Layout<'a>, FrontendError> {
        let Some((store, digest)) = reference.split_once('@') else {
            return Err(FrontendError::LayoutDigest {
                reference: reference.to_owned(),
            });
        };
        let wrong = |source| FrontendError::LayoutReference {
            reference: reference.to_owned(),
            source,
        };
        let shown = ImageName::parse(&self.familiar).map_err(wrong)?;
        Ok(Layout {
            store: store.rsplit_once(':').map_or(store, |(store, _)| store),
            digest,
            shown: shown.with_digest(digest).to_string(),
        })
    }
}

/// Reads an image's config.
pub(crate) fn parse_config(bytes: &[u8]) -> Result<ImageConfig> {
    crate::image::parse(bytes).map_err(|error| {
        FrontendError::ImageConfig {
            reason: error.to_string(),
        }
        .into()
    })
}

/// Takes the config out of an input's metadata: a map whose values are in base 64.
pub(crate) fn input_config(text: &str) -> Result<Option<ImageConfig>> {
    let wrong = || FrontendError::InputMetadata {
        text: text.to_owned(),
    };
    let map: BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| wrong())?;
    let Some(encoded) = map.get("containerimage.config") else {
        return Ok(None);
    };
    let bytes = STANDARD.decode(encoded).map_err(|_| wrong())?;
    parse_config(&bytes).map(Some)
}
