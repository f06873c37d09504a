//! Ordered sets of variables.

/// Variables in the order in which they were last set.
///
/// That order is visible: it is the order of `Env` of a step's process, and the first of several
/// equally near names is the one that a spelling suggestion takes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Env(Vec<(String, String)>);

impl Env {
    /// Sets `name`, which moves to the end.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.remove(&name);
        self.0.push((name, value.into()));
    }

    /// Forgets `name`.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// Returns the value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the names, oldest first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Returns `name=value` for every variable.
    #[must_use]
    pub fn to_list(&self) -> Vec<String> {
        let join = |(name, value): &(String, String)| format!("{name}={value}");
        self.0.iter().map(join).collect()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut env = Self::default();
        for (name, value) in pairs {
            env.set(name, value);
        }
        env
    }
}
