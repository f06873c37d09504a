//! Attributes of outputs, read as Go reads them.

use std::collections::BTreeMap;

use crate::ExportError;

/// The attributes of one output; what is taken is gone, what is left becomes metadata.
pub(crate) struct Attrs(BTreeMap<String, String>);

impl Attrs {
    pub(crate) fn new(attrs: &BTreeMap<String, String>) -> Self {
        Self(attrs.clone())
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    /// Takes a truth value; written without a value it is `empty`, if that is allowed.
    pub(crate) fn take_bool(
        &mut self,
        key: &str,
        empty: Option<bool>,
    ) -> Result<Option<bool>, ExportError> {
        let Some(text) = self.take(key) else {
            return Ok(None);
        };
        if text.is_empty() && empty.is_some() {
            return Ok(empty);
        }
        let bad = || {
            ExportError::BadAttribute(format!(
                "non-bool value specified for {key}: strconv.ParseBool: parsing {text:?}: \
                 invalid syntax"
            ))
        };
        parse_bool(&text).ok_or_else(bad).map(Some)
    }

    /// Takes a switch: absent is off, without a value is on.
    pub(crate) fn take_switch(&mut self, key: &str) -> Result<bool, ExportError> {
        Ok(self.take_bool(key, Some(true))?.unwrap_or(false))
    }

    /// Refuses a switch that this version cannot turn on.
    pub(crate) fn refuse_switch(&mut self, key: &str) -> Result<(), ExportError> {
        if self.take_switch(key)? {
            return Err(ExportError::Unsupported {
                option: format!("{key}=true"),
            });
        }
        Ok(())
    }

    /// Takes all whose key `wanted` accepts.
    pub(crate) fn take_matching(
        &mut self,
        wanted: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, String> {
        let (taken, left) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(key, _)| wanted(key));
        self.0 = left;
        taken
    }

    /// Returns what nobody took.
    pub(crate) fn into_rest(self) -> BTreeMap<String, String> {
        self.0
    }
}

/// Go's `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_follow_go() {
        let attrs = [("a", ""), ("b", "T"), ("c", "no")];
        let attrs = attrs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut attrs = Attrs::new(&BTreeMap::from(attrs));
        assert_eq!(attrs.take_switch("a").ok(), Some(true));
        assert_eq!(attrs.take_switch("b").ok(), Some(true));
        let error = attrs.take_switch("c").expect_err("is no truth value");
        assert_eq!(
            error.to_string(),
            "non-bool value specified for c: strconv.ParseBool: parsing \"no\": invalid syntax"
        );
        assert_eq!(attrs.take_switch("d").ok(), Some(false));
    }
}
