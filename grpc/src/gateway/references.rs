//! The references that a caller has, by id (rows GW-22, GW-23).
//!
//! Ids are made up here, mean nothing elsewhere, and live as long as the build.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_llb::BuildError;
use lamina_llb::Reference;
use lamina_llb::ResultRefs;
use lamina_llb::SolveFailure;

use crate::status::FailureIds;

/// References by id.
pub(super) struct References {
    /// Tells the ids of this build from those of others.
    prefix: u64,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    count: u64,
    by_id: HashMap<String, Reference>,
    /// Failures that the caller knows, so that asking again adds nothing.
    failures: Vec<(Arc<SolveFailure>, FailureIds)>,
}

impl References {
    pub(super) fn new() -> Self {
        Self {
            prefix: RandomState::new().hash_one(0),
            table: Mutex::default(),
        }
    }

    /// Returns a new id for `reference`; none (scratch) is the empty id.
    pub(super) fn add(&self, reference: Option<&Reference>) -> String {
        self.add_to(&mut self.table(), reference)
    }

    /// Returns new ids for all that a result consists of; scratch has none (row SVC-18).
    pub(super) fn names(&self, refs: &ResultRefs) -> Vec<String> {
        let references = refs.iter().filter_map(|(_, reference)| reference);
        references
            .map(|reference| self.add(Some(reference)))
            .collect()
    }

    fn add_to(&self, table: &mut Table, reference: Option<&Reference>) -> String {
        let Some(reference) = reference else {
            return String::new();
        };
        table.count += 1;
        let id = format!("{:016x}{:x}", self.prefix, table.count);
        table.by_id.insert(id.clone(), reference.clone());
        id
    }

    /// Returns the reference behind an id that is read from.
    ///
    /// # Errors
    /// If there is none, also for the empty id (row GW-26).
    pub(super) fn get(&self, id: &str) -> Result<Reference, BuildError> {
        let found = self.table().by_id.get(id).cloned();
        found.ok_or_else(|| BuildError::new(format!("no such ref: {id}")))
    }

    /// Returns the reference behind an id in a result; the empty one is scratch (row GW-31).
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn returned(&self, id: &str) -> Result<Option<Reference>, BuildError> {
        if id.is_empty() {
            return Ok(None);
        }
        let found = self.table().by_id.get(id).cloned();
        let missing = || BuildError::new(format!("return reference {id} not found"));
        found.map(Some).ok_or_else(missing)
    }

    /// Returns ids for what is left of a failed op (row ERR-03).
    pub(super) fn of_failure(&self, failure: &Arc<SolveFailure>) -> FailureIds {
        let mut table = self.table();
        let mut known = table.failures.iter();
        if let Some((_, ids)) = known.find(|(known, _)| Arc::ptr_eq(known, failure)) {
            return ids.clone();
        }
        let mut add = |references: &[Option<Reference>]| {
            let ids = references.iter();
            ids.map(|reference| self.add_to(&mut table, reference.as_ref()))
                .collect()
        };
        let ids = FailureIds {
            inputs: add(&failure.inputs),
            mounts: add(&failure.mounts),
        };
        table.failures.push((Arc::clone(failure), ids.clone()));
        ids
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use lamina_proto::pb;

    use super::*;

    /// Row SVC-18.
    #[test]
    fn all_of_a_result_gets_names_but_scratch() {
        let one = || Some(Reference::foreign(pb::Definition::default()));
        let map = [("a", one()), ("b", None), ("c", one())];
        let map = map.map(|(key, reference)| (key.to_owned(), reference));
        let references = References::new();
        for (name, refs, count) in [
            ("one", ResultRefs::Single(one()), 1),
            ("scratch", ResultRefs::Single(None), 0),
            ("many", ResultRefs::Map(map.into()), 2),
        ] {
            let ids = references.names(&refs);
            assert_eq!(ids.len(), count, "{name}");
            assert!(ids.iter().all(|id| references.get(id).is_ok()), "{name}");
        }
    }
}
