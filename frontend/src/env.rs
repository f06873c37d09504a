//! Ordered sets of variables.

use std::collections::HashMap;

/// Variables in the order in which they were last set.
///
/// That order is visible: it is the order of `Env` of a step's process, and the first of several
/// equally near names is the one that a spelling suggestion takes. Looking one up and setting it take
/// the same time however many there are.
#[derive(Clone, Debug, Default)]
pub struct Env {
    /// A variable that is set again leaves a gap.
    entries: Vec<Option<(String, String)>>,
    places: HashMap<String, usize>,
}

/// Gaps that are left alone, as long as they are fewer than the variables.
const GAPS: usize = 16;

impl Env {
    /// Sets `name`, which moves to the end.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.remove(&name);
        self.places.insert(name.clone(), self.entries.len());
        self.entries.push(Some((name, value.into())));
    }

    /// Forgets `name`.
    pub fn remove(&mut self, name: &str) {
        let Some(place) = self.places.remove(name) else {
            return;
        };
        self.entries[place] = None;
        if self.entries.len() > 2 * self.places.len() + GAPS {
            self.close_gaps();
        }
    }

    fn close_gaps(&mut self) {
        self.entries.retain(Option::is_some);
        for (place, (name, _)) in self.entries.iter().flatten().enumerate() {
            if let Some(known) = self.places.get_mut(name) {
                *known = place;
            }
        }
    }

    /// Returns the value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let entry = self.entries.get(*self.places.get(name)?)?;
        entry.as_ref().map(|(_, value)| value.as_str())
    }

    /// Returns the names, oldest first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs().map(|(name, _)| name)
    }

    /// Returns names and values, oldest first.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.entries.iter().flatten();
        entries.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns `name=value` for every variable.
    #[must_use]
    pub fn to_list(&self) -> Vec<String> {
        self.pairs()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}

impl PartialEq for Env {
    fn eq(&self, other: &Self) -> bool {
        self.pairs().eq(other.pairs())
    }
}

impl Eq for Env {}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut env = Self::default();
        for (name, value) in pairs {
            env.set(name, value);
        }
        env
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_set_comes_last() {
        let mut env = Env::default();
        for round in 0..100 {
            for name in ["a", "b", "c"] {
                env.set(name, round.to_string());
            }
        }
        env.set("a", "x");
        env.remove("b");
        env.remove("nothing");
        assert_eq!(env.to_list(), ["c=99", "a=x"]);
        assert_eq!((env.get("a"), env.get("b")), (Some("x"), None));
        assert!(env.entries.len() <= 2 * 2 + GAPS + 1, "{env:?}");
        assert_eq!(env, [("c", "99"), ("a", "x")].into_iter().collect());
    }
}
