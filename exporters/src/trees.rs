//! What `local` and `tar` share: which trees go where, with what times (rows ELO-02 to ELO-05).

use std::collections::BTreeMap;

use lamina_snapshotter::LayerStack;

use crate::ExportError;
use crate::ExportInput;
use crate::attrs::Attrs;
use crate::attrs::parse_bool;
use crate::epoch::EpochOption;
use crate::platforms::platforms_of;

/// How a directory that is already there is treated (row ELO-03).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum LocalMode {
    /// Files are added and replaced.
    #[default]
    Copy,
    /// What the result does not have is deleted.
    Delete,
}

/// Attributes of `local` and `tar`.
#[derive(Clone, Debug, Default)]
pub(crate) struct TreeExportOptions {
    pub(crate) epoch: EpochOption,
    /// A folder for each platform; by default if the result is a map.
    pub(crate) platform_split: Option<bool>,
    pub(crate) mode: LocalMode,
}

/// An output of trees as a client asks for it.
pub(crate) struct TreeOutput {
    /// Which of the build's outputs it is.
    pub(crate) index: usize,
    pub(crate) options: TreeExportOptions,
}

impl TreeOutput {
    /// Reads the attributes.
    pub(crate) fn parse(
        attrs: &BTreeMap<String, String>,
        index: usize,
    ) -> Result<Self, ExportError> {
        let options = TreeExportOptions::take(&mut Attrs::new(attrs))?;
        Ok(Self { index, options })
    }
}

/// One tree of a result.
pub(crate) struct ExportTree {
    /// The platform's id.
    pub(crate) id: String,
    /// Its folder, if trees are split: slashes become underscores.
    pub(crate) folder: String,
    pub(crate) stack: LayerStack,
    /// The time that all files get.
    pub(crate) mtime_ns: Option<i128>,
}

impl TreeExportOptions {
    /// Takes the attributes; others are ignored.
    pub(crate) fn take(attrs: &mut Attrs) -> Result<Self, ExportError> {
        let bad = |reason: String| ExportError::BadAttribute(reason);
        let platform_split = match attrs.take("platform-split") {
            None => None,
            Some(text) => Some(parse_bool(&text).ok_or_else(|| {
                bad(format!(
                    "non-bool value for platform-split: {text}: strconv.ParseBool: parsing \
                     {text:?}: invalid syntax"
                ))
            })?),
        };
        let mode = match attrs.take("mode").as_deref() {
            None | Some("" | "copy") => LocalMode::Copy,
            Some("delete") => LocalMode::Delete,
            Some(other) => {
                return Err(bad(format!("invalid local exporter mode {other:?}")));
            }
        };
        Ok(Self {
            epoch: EpochOption::take(attrs)?,
            platform_split,
            mode,
        })
    }

    /// Says whether each platform gets a folder.
    pub(crate) fn splits(&self, input: &ExportInput) -> bool {
        self.platform_split.unwrap_or(input.is_map())
    }
}

/// Returns the trees of a result, one for each platform.
///
/// # Errors
/// If platforms and trees do not fit together.
pub(crate) fn trees_of(
    input: &ExportInput,
    options: &TreeExportOptions,
) -> Result<Vec<ExportTree>, ExportError> {
    let platforms = platforms_of(input)?;
    if !input.is_map() && platforms.len() > 1 {
        let reason = "unable to export multiple platforms without map";
        return Err(ExportError::BadResult(reason.to_owned()));
    }
    let tree = |platform: &crate::platforms::PlatformRef| {
        let id = &platform.id;
        let stack = input
            .stack(id)
            .ok_or_else(|| ExportError::BadResult(format!("failed to find ref for ID {id}")))?;
        let epoch = options.epoch.resolve(input, id)?;
        Ok(ExportTree {
            id: id.clone(),
            folder: id.replace('/', "_"),
            stack: stack.clone(),
            mtime_ns: epoch.map(jiff::Timestamp::as_nanosecond),
        })
    };
    platforms.iter().map(tree).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_checked() {
        for (key, value, reason) in [
            (
                "platform-split",
                "x",
                "non-bool value for platform-split: x",
            ),
            ("mode", "move", "invalid local exporter mode \"move\""),
            ("source-date-epoch", "x", "invalid source-date-epoch"),
        ] {
            let attrs = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            let error = TreeExportOptions::take(&mut Attrs::new(&attrs)).expect_err(key);
            assert!(error.to_string().starts_with(reason), "{error}");
        }
    }

    #[test]
    fn unknown_attributes_are_tolerated() {
        let attrs = BTreeMap::from([("dest".to_owned(), "x".to_owned())]);
        let options = TreeExportOptions::take(&mut Attrs::new(&attrs)).expect("is allowed");
        assert_eq!(options.mode, LocalMode::Copy);
    }
}
