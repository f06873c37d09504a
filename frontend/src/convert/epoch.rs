//! `SOURCE_DATE_EPOCH`: one time for everything (rows FDF-41, DFL-11).

use jiff::Timestamp;

use crate::error::FrontendError;

/// The argument's name.
pub(crate) const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// Reads seconds since 1970; none if the text is empty.
///
/// # Errors
/// For anything that is no number. The forms that take the time of a git commit or of a download
/// are refused the same way.
pub(crate) fn parse(text: &str) -> Result<Option<i64>, FrontendError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| FrontendError::Epoch {
        value: text.to_owned(),
    })
}

/// Returns the time as image configs write it; none if it is beyond the years that they can.
pub(crate) fn to_text(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds)
        .ok()
        .map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(to_text(0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(to_text(i64::MAX), None);
        assert_eq!(parse("").expect("empty"), None);
        assert!(parse("zz").is_err());
    }
}
