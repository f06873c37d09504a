//! What the daemon tells a frontend when it starts it (row FGW-08).

use std::collections::BTreeMap;
use std::ffi::OsString;

use lamina_types::Platform;
use serde_json::Value;

use crate::ClientError;

/// One option each: a number and `=key=value` follow.
const OPTION_PREFIX: &str = "BUILDKIT_FRONTEND_OPT_";

/// What the client asked for, and where it is built.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Invocation {
    /// The options of the build.
    pub options: BTreeMap<String, String>,
    /// The session of the client, for sources that name one.
    pub session_id: String,
    /// The workers of the daemon, the default one first.
    pub workers: Vec<Worker>,
    /// What the daemon calls itself in messages about what it cannot do.
    pub product: String,
}

/// A worker of the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Worker {
    /// Its id.
    pub id: String,
    /// What it says of itself.
    pub labels: BTreeMap<String, String>,
    /// What it can run, its own platform first.
    pub platforms: Vec<Platform>,
}

impl Invocation {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// [`ClientError::Malformed`] if the list of workers is no JSON.
    pub fn of_process() -> Result<Self, ClientError> {
        Self::parse(std::env::vars_os())
    }

    /// Reads variables; those that mean nothing here, or are no text, are left out.
    ///
    /// # Errors
    /// [`ClientError::Malformed`] if the list of workers is no JSON.
    pub fn parse(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ClientError> {
        let mut invocation = Self::default();
        for (name, value) in variables {
            if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
                invocation.take(&name, value)?;
            }
        }
        Ok(invocation)
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), ClientError> {
        match name {
            "BUILDKIT_SESSION_ID" => self.session_id = value,
            "BUILDKIT_EXPORTEDPRODUCT" => self.product = value,
            "BUILDKIT_WORKERS" => self.workers = workers(&value)?,
            name if name.starts_with(OPTION_PREFIX) => {
                // An option without a value is one that is empty.
                let (key, value) = value.split_once('=').unwrap_or((&value, ""));
                self.options.insert(key.to_owned(), value.to_owned());
            }
            _ => {}
        }
        Ok(())
    }
}

fn workers(text: &str) -> Result<Vec<Worker>, ClientError> {
    let malformed = || ClientError::Malformed("BUILDKIT_WORKERS is no list of workers");
    let list: Value = serde_json::from_str(text).map_err(|_| malformed())?;
    match list {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => Ok(list.iter().map(worker).collect()),
        _ => Err(malformed()),
    }
}

fn worker(value: &Value) -> Worker {
    let labels = field(value, "labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    let platforms = field(value, "platforms").and_then(Value::as_array);
    Worker {
        id: text(value, "id"),
        labels: labels
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        platforms: platforms.into_iter().flatten().map(platform).collect(),
    }
}

fn platform(value: &Value) -> Platform {
    let part = |key| text(value, key);
    Platform::new(&part("os"), &part("architecture"), &part("variant"))
}

fn text(value: &Value, key: &str) -> String {
    let text = field(value, key).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// Finds a field in whatever case the writer spells it.
fn field<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let mut fields = value.as_object()?.iter();
    let found = fields.find(|(name, _)| name.eq_ignore_ascii_case(key));
    found.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(variables: &[(&str, &str)]) -> Result<Invocation, ClientError> {
        let pairs = variables.iter();
        Invocation::parse(pairs.map(|(name, value)| ((*name).into(), (*value).into())))
    }

    #[test]
    fn all_variables_are_taken() {
        let workers = r#"[{"id":"w","Labels":{"k":"v","odd":1},
            "platforms":[{"os":"linux","architecture":"arm","variant":"v7"},
                         {"OS":"linux","Architecture":"amd64"}]}]"#;
        let invocation = parse(&[
            ("PATH", "/bin"),
            ("BUILDKIT_FRONTEND_OPT_0", "target=a"),
            ("BUILDKIT_FRONTEND_OPT_1", "build-arg:X=y=z"),
            ("BUILDKIT_FRONTEND_OPT_2", "no-cache"),
            ("BUILDKIT_FRONTEND_OPT_3", "label:empty="),
            ("BUILDKIT_SESSION_ID", "s"),
            ("BUILDKIT_EXPORTEDPRODUCT", "p"),
            ("BUILDKIT_WORKERS", workers),
        ]);
        let pairs = [
            ("build-arg:X", "y=z"),
            ("label:empty", ""),
            ("no-cache", ""),
            ("target", "a"),
        ];
        let options = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let worker = Worker {
            id: "w".to_owned(),
            labels: [("k".to_owned(), "v".to_owned())].into(),
            platforms: vec![
                Platform::new("linux", "arm", "v7"),
                Platform::new("linux", "amd64", ""),
            ],
        };
        let expected = Invocation {
            options: options.into(),
            session_id: "s".to_owned(),
            workers: vec![worker],
            product: "p".to_owned(),
        };
        assert_eq!(invocation.expect("read"), expected);
    }

    #[test]
    fn odd_lists_of_workers_are_survived_or_refused() {
        for (text, count) in [
            ("null", Some(0)),
            ("[]", Some(0)),
            (
                r#"[1, {"platforms": 3, "labels": []}, {"platforms": [7]}]"#,
                Some(3),
            ),
            ("", None),
            ("{}", None),
            ("[", None),
        ] {
            let parsed = parse(&[("BUILDKIT_WORKERS", text)]);
            let found = parsed.ok().map(|invocation| invocation.workers.len());
            assert_eq!(found, count, "{text:?}");
        }
    }
}
