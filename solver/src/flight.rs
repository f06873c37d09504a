//! Steps of equal meaning run once.
//!
//! Two vertices of different digests may turn out to be the same computation: the same op over
//! inputs that share an id, by definition or by content. The first to get as far as running leads;
//! the others wait for its values. One that ignores the cache never waits for one that does not.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;

use lamina_types::Digest;

use crate::cell::Cell;
use crate::key::KeyId;

/// An id of an input, with the selector under which it is used.
pub(crate) type InputId = (KeyId, Option<Digest>);

/// The ids of one input.
pub(crate) type InputIds = HashSet<InputId>;

/// The steps that run or have run, by op digest and an id of the first input.
pub(crate) struct Flights<V, C>(Mutex<FlightTable<V, C>>);

type FlightTable<V, C> = HashMap<(Digest, Option<InputId>), Vec<Flight<V, C>>>;

struct Flight<V, C> {
    leader: Weak<Cell<V, C>>,
    ignore_cache: bool,
    inputs: Arc<[InputIds]>,
}

impl<V, C> Default for Flights<V, C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V, C> Flights<V, C> {
    /// Returns the vertex that runs, or ran, what `cell` is about to run; `None`: `cell` leads.
    pub(crate) fn enter(
        &self,
        op: Digest,
        cell: &Arc<Cell<V, C>>,
        inputs: &Arc<[InputIds]>,
    ) -> Option<Arc<Cell<V, C>>> {
        let mut table = self.table();
        let places = places(op, inputs);
        let flights = places.iter().filter_map(|place| table.get(place)).flatten();
        let mut equal = flights.filter(|flight| flight.serves(cell.ignore_cache, inputs));
        if let Some(leader) = equal.find_map(|flight| flight.leader.upgrade()) {
            return (!Arc::ptr_eq(&leader, cell)).then_some(leader);
        }
        for place in places {
            table.entry(place).or_default().push(Flight {
                leader: Arc::downgrade(cell),
                ignore_cache: cell.ignore_cache,
                inputs: Arc::clone(inputs),
            });
        }
        None
    }

    /// Returns whether a vertex that ignores the cache is running this now: its result will be
    /// newer than any record.
    pub(crate) fn is_being_renewed(&self, op: Digest, inputs: &[InputIds]) -> bool
    where
        V: Clone + Send + Sync + 'static,
        C: Send + Sync + 'static,
    {
        let table = self.table();
        let places = places(op, inputs);
        let flights = places.iter().filter_map(|place| table.get(place)).flatten();
        let mut fresh = flights.filter(|flight| flight.ignore_cache && flight.serves(true, inputs));
        fresh.any(|flight| {
            flight
                .leader
                .upgrade()
                .is_some_and(|leader| leader.is_running())
        })
    }

    /// Takes the lead away from a vertex that does not run any more and has no values.
    pub(crate) fn leave(&self, op: Digest, leader: &Arc<Cell<V, C>>, inputs: &[InputIds]) {
        let mut table = self.table();
        for place in places(op, inputs) {
            if let Some(flights) = table.get_mut(&place) {
                flights.retain(|flight| flight.leader.as_ptr() != Arc::as_ptr(leader));
            }
        }
    }

    /// Forgets vertices that no build has any more.
    pub(crate) fn purge(&self) {
        self.table().retain(|_, flights| {
            flights.retain(|flight| flight.leader.strong_count() > 0);
            !flights.is_empty()
        });
    }

    fn table(&self) -> MutexGuard<'_, FlightTable<V, C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns where a step is entered.
fn places(op: Digest, inputs: &[InputIds]) -> Vec<(Digest, Option<InputId>)> {
    match inputs.first() {
        None => vec![(op, None)],
        Some(first) => first.iter().map(|id| (op, Some(*id))).collect(),
    }
}

impl<V, C> Flight<V, C> {
    fn serves(&self, ignore_cache: bool, inputs: &[InputIds]) -> bool {
        let mut pairs = self.inputs.iter().zip(inputs);
        (self.ignore_cache || !ignore_cache)
            && self.inputs.len() == inputs.len()
            && pairs.all(|(ours, theirs)| !ours.is_disjoint(theirs))
    }
}
