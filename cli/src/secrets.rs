//! `--secret`: what steps may read and layers never hold.

use std::path::PathBuf;

use crate::csv;
use crate::csv::CsvError;

/// Where a secret's value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretSource {
    File(PathBuf),
    Environment(String),
}

/// Says why a secret could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("--secret {0}")]
    Csv(#[from] CsvError),
    #[error("--secret {text:?}: id is required")]
    NoId { text: String },
    #[error("--secret {text:?}: unknown key {key:?}, expected id, src, env or type")]
    UnknownKey { text: String, key: String },
    #[error("--secret {text:?}: unknown type {kind:?}, expected file or env")]
    UnknownType { text: String, kind: String },
    #[error("--secret {text:?}: src and env exclude each other")]
    Both { text: String },
}

/// Reads `id=NAME[,src=FILE|,env=VARIABLE][,type=file|env]` (row CLI-07).
///
/// Without `src` and `env` the value is the environment variable of the secret's name, if set, else
/// the file of that name.
pub(crate) fn parse(text: &str) -> Result<(String, SecretSource), SecretError> {
    let mut fields = Fields::default();
    for (key, value) in csv::key_values(text)? {
        match key.as_str() {
            "id" => fields.id = value,
            "src" | "source" => fields.file = Some(value),
            "env" => fields.variable = Some(value),
            "type" => fields.kind = Some(value),
            _ => {
                let text = text.to_owned();
                return Err(SecretError::UnknownKey { text, key });
            }
        }
    }
    if fields.id.is_empty() {
        let text = text.to_owned();
        return Err(SecretError::NoId { text });
    }
    Ok((fields.id.clone(), fields.source(text)?))
}

/// What one option says.
#[derive(Default)]
struct Fields {
    id: String,
    file: Option<String>,
    variable: Option<String>,
    kind: Option<String>,
}

impl Fields {
    /// Chooses where the value is; `text` is the whole option, for errors.
    fn source(self, text: &str) -> Result<SecretSource, SecretError> {
        let text = || text.to_owned();
        let by_variable = match self.kind.as_deref() {
            None if self.file.is_none() => std::env::var_os(&self.id).is_some(),
            None | Some("file") => false,
            Some("env") => true,
            Some(kind) => {
                let (text, kind) = (text(), kind.to_owned());
                return Err(SecretError::UnknownType { text, kind });
            }
        };
        match (self.variable, self.file) {
            (Some(_), Some(_)) => Err(SecretError::Both { text: text() }),
            (Some(variable), None) => Ok(SecretSource::Environment(variable)),
            (None, name) if by_variable => Ok(SecretSource::Environment(name.unwrap_or(self.id))),
            (None, name) => Ok(SecretSource::File(name.unwrap_or(self.id).into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_the_option() {
        let file = |name: &str| SecretSource::File(name.into());
        let variable = |name: &str| SecretSource::Environment(name.to_owned());
        for (text, id, source) in [
            ("id=a,src=b", "a", file("b")),
            ("id=a,env=B", "a", variable("B")),
            ("id=a,type=env,src=B", "a", variable("B")),
            (
                "id=no-such-variable",
                "no-such-variable",
                file("no-such-variable"),
            ),
            ("id=PATH", "PATH", variable("PATH")),
        ] {
            assert_eq!(parse(text), Ok((id.to_owned(), source)), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("src=b", "id is required"),
            ("id=a,file=b", "unknown key \"file\""),
            ("id=a,type=x", "unknown type \"x\""),
            ("id=a,src=b,env=c", "exclude each other"),
        ] {
            let message = parse(text).expect_err(text).to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
