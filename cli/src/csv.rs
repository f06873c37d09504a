//! Options of the form `key=value,key="with, comma"`, as `--output` and `--secret` take them.

/// Says why an option could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CsvError {
    #[error("{text:?}: a quote is not closed")]
    OpenQuote { text: String },
    #[error("{text:?}: expected key=value, found {field:?}")]
    NoValue { text: String, field: String },
    #[error("{text:?}: {key:?} is given twice")]
    Twice { text: String, key: String },
}

/// Cuts `text` at commas outside double quotes and removes the quotes.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, CsvError> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut().expect("never empty").push(other),
        }
    }
    if quoted {
        return Err(CsvError::OpenQuote {
            text: text.to_owned(),
        });
    }
    Ok(fields)
}

/// Returns the keys and values of `text` in order; keys are in lower case and occur once.
pub(crate) fn key_values(text: &str) -> Result<Vec<(String, String)>, CsvError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for field in fields(text)? {
        let Some((key, value)) = field.split_once('=') else {
            return Err(CsvError::NoValue {
                text: text.to_owned(),
                field,
            });
        };
        let key = key.trim().to_lowercase();
        if pairs.iter().any(|(known, _)| *known == key) {
            return Err(CsvError::Twice {
                text: text.to_owned(),
                key,
            });
        }
        pairs.push((key, value.to_owned()));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_quotes() {
        let pairs = key_values("type=oci,\"dest=a,b\",Name=x=y").expect("valid");
        let expected = [("type", "oci"), ("dest", "a,b"), ("name", "x=y")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(pairs, expected);
    }

    #[test]
    fn errors_quote_the_option() {
        for (text, part) in [
            ("a=\"b", "a quote is not closed"),
            ("type=oci,oops", "found \"oops\""),
            ("a=1,A=2", "\"a\" is given twice"),
        ] {
            let message = key_values(text).expect_err(text).to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
