//! `SOURCE_DATE_EPOCH`: the latest time that a result may show (rows EIM-15, ELO-05, RMD-05).

use jiff::Timestamp;

use crate::ExportError;
use crate::ExportInput;
use crate::attrs::Attrs;

/// Metadata that carries the frontend's choice.
const METADATA_KEY: &str = "source.date.epoch";

/// What an output's attributes say about the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EpochOption {
    /// Nothing: the result's metadata decides.
    #[default]
    FromResult,
    /// Given; empty means none, whatever the result says.
    Given(Option<Timestamp>),
}

impl EpochOption {
    /// Takes `source-date-epoch`.
    pub(crate) fn take(attrs: &mut Attrs) -> Result<Self, ExportError> {
        match attrs.take("source-date-epoch") {
            None => Ok(Self::FromResult),
            Some(text) => parse("source-date-epoch", &text)
                .map(Self::Given)
                .map_err(ExportError::BadAttribute),
        }
    }

    /// Returns the epoch for a platform of the result.
    pub(crate) fn resolve(
        self,
        input: &ExportInput,
        id: &str,
    ) -> Result<Option<Timestamp>, ExportError> {
        let text = match self {
            Self::Given(epoch) => return Ok(epoch),
            Self::FromResult => input.metadata_for(METADATA_KEY, id),
        };
        let Some(text) = text else { return Ok(None) };
        let text = String::from_utf8_lossy(text);
        parse("", &text).map_err(|reason| {
            let reason = format!("invalid SOURCE_DATE_EPOCH from frontend: {text:?}: {reason}");
            ExportError::BadResult(reason)
        })
    }
}

fn parse(key: &str, text: &str) -> Result<Option<Timestamp>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let seconds: Option<i64> = text.parse().ok();
    seconds
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map(Some)
        .ok_or_else(|| format!("invalid {key}: strconv.ParseInt: parsing {text:?}: invalid syntax"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lamina_snapshotter::LayerStack;

    use super::*;

    fn option(text: Option<&str>) -> Result<EpochOption, ExportError> {
        let attrs = text.map(|text| ("source-date-epoch".to_owned(), text.to_owned()));
        EpochOption::take(&mut Attrs::new(&BTreeMap::from_iter(attrs)))
    }

    #[test]
    fn attributes_win_over_the_result() {
        let mut input = ExportInput::single(LayerStack::empty());
        let mut set = |key: &str, value: &str| {
            input.metadata.insert(key.to_owned(), value.into());
        };
        set("source.date.epoch", "5");
        set("source.date.epoch/linux/arm64", "6");
        let seconds = |option: EpochOption, id: &str| {
            let epoch = option.resolve(&input, id).expect("is a time");
            epoch.map(Timestamp::as_second)
        };
        let absent = option(None).expect("is allowed");
        assert_eq!(seconds(absent, "linux/amd64"), Some(5));
        assert_eq!(seconds(absent, "linux/arm64"), Some(6));
        assert_eq!(seconds(option(Some("7")).expect("is a time"), ""), Some(7));
        assert_eq!(seconds(option(Some("")).expect("is allowed"), ""), None);
        assert!(option(Some("x")).is_err());
    }
}
