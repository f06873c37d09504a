//! A table of the file from which known keys are taken; what is left at the end is unknown.

use lamina_types::PathError;
use serde::de::DeserializeOwned;
use toml::Table;
use toml::Value;

/// The configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    #[error(transparent)]
    Io(#[from] PathError),
    #[error("failed to parse config: {path}: {error}")]
    File { path: String, error: Box<Self> },
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    #[error("{key}: {reason}")]
    Value { key: String, reason: String },
}

/// A table with the path that leads to it.
pub(super) struct Section {
    path: String,
    table: Table,
}

impl Section {
    /// Wraps the whole file.
    pub(super) fn root(table: Table) -> Self {
        let path = String::new();
        Self { path, table }
    }

    /// Returns the path of one of its keys.
    pub(super) fn path_of(&self, key: &str) -> String {
        let quoted = if key.contains('.') {
            format!("{key:?}")
        } else {
            key.to_owned()
        };
        match self.path.as_str() {
            "" => quoted,
            path => format!("{path}.{quoted}"),
        }
    }

    /// Removes the value of `key`, in whatever case it is written.
    pub(super) fn remove(&mut self, key: &str) -> Option<Value> {
        let exact = self.table.remove(key);
        exact.or_else(|| {
            let mut keys = self.table.keys();
            let found = keys.find(|known| known.eq_ignore_ascii_case(key))?.clone();
            self.table.remove(&found)
        })
    }

    /// Takes a value of a certain kind.
    pub(super) fn take<T: DeserializeOwned>(
        &mut self,
        key: &str,
    ) -> Result<Option<T>, ConfigError> {
        self.take_with(key, |value| {
            value
                .try_into()
                .map_err(|error: toml::de::Error| error.message().to_owned())
        })
    }

    /// Takes a list; without the key it is empty.
    pub(super) fn list<T: DeserializeOwned>(&mut self, key: &str) -> Result<Vec<T>, ConfigError> {
        Ok(self.take(key)?.unwrap_or_default())
    }

    /// Takes a value that `read` understands.
    pub(super) fn take_with<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(Value) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.remove(key) else {
            return Ok(None);
        };
        let key = self.path_of(key);
        let value = read(value).map_err(|reason| ConfigError::Value { key, reason })?;
        Ok(Some(value))
    }

    /// Takes a table; without the key it is empty.
    pub(super) fn section(&mut self, key: &str) -> Result<Self, ConfigError> {
        let path = self.path_of(key);
        let table = self.take::<Table>(key)?.unwrap_or_default();
        Ok(Self { path, table })
    }

    /// Takes a list of tables.
    pub(super) fn sections(&mut self, key: &str) -> Result<Vec<Self>, ConfigError> {
        let path = self.path_of(key);
        let wrap = |(index, table)| Self {
            path: format!("{path}[{index}]"),
            table,
        };
        let tables = self.list::<Table>(key)?;
        Ok(tables.into_iter().enumerate().map(wrap).collect())
    }

    /// Takes every table below, with its name.
    pub(super) fn named(mut self) -> Result<Vec<(String, Self)>, ConfigError> {
        let names: Vec<String> = self.table.keys().cloned().collect();
        let mut sections = Vec::new();
        for name in names {
            let section = self.section(&name)?;
            sections.push((name, section));
        }
        Ok(sections)
    }

    /// Takes keys that ask for what there is not, and tells which were there; of tables, the keys in
    /// them.
    pub(super) fn without_effect(&mut self, keys: &[&str], told: &mut Vec<(String, Value)>) {
        for key in keys {
            let path = self.path_of(key);
            match self.remove(key) {
                Some(Value::Table(table)) => {
                    let inner = |(key, value)| (format!("{path}.{key}"), value);
                    told.extend(table.into_iter().map(inner));
                }
                Some(value) => told.push((path, value)),
                None => {}
            }
        }
    }

    /// Tells what nobody took.
    pub(super) fn finish(self, unknown: &mut Vec<String>) {
        unknown.extend(self.table.keys().map(|key| self.path_of(key)));
    }
}
