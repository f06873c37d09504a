//! Who wants a vertex, and what follows from it.
//!
//! A vertex is wanted by the solves that asked for it, by dependants that are not done yet, and by
//! vertices that wait for its result because their key is the same. While it is wanted it has a
//! *run*. When the last one leaves, the run is cancelled, and the vertex stops wanting its inputs.
//!
//! A vertex wants its inputs from the moment when one of its stages first asks them something until
//! it has a result (or ends), also between two stages. So an input that one stage began to realise
//! goes on while the next stage takes over.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_types::CancelToken;

use crate::cell::Cell;
use crate::memo::Failure;
use crate::memo::Outcome;
use crate::memo::Run;

/// The part of a cell that this module owns.
#[derive(Default)]
pub(crate) struct Life(Mutex<LifeState>);

#[derive(Default)]
struct LifeState {
    wanted: usize,
    run: u64,
    cancel: CancelToken,
    stages: usize,
    wants_inputs: bool,
    has_result: bool,
}

impl Life {
    fn state(&self) -> MutexGuard<'_, LifeState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn run(&self) -> Option<Run> {
        let state = self.state();
        (state.wanted > 0).then(|| Run {
            number: state.run,
            cancel: state.cancel.clone(),
        })
    }

    pub(crate) fn stage_started(&self) {
        self.state().stages += 1;
    }

    pub(crate) fn result_known(&self) {
        self.state().has_result = true;
    }

    fn want(&self) {
        let mut state = self.state();
        if state.wanted == 0 {
            state.run += 1;
            state.cancel = CancelToken::new();
        }
        state.wanted += 1;
    }

    /// Takes one away; returns whether it was the last, and whether inputs are to be released.
    fn unwant(&self) -> (bool, bool) {
        let mut state = self.state();
        state.wanted -= 1;
        if state.wanted > 0 {
            return (false, false);
        }
        state.cancel.cancel();
        (true, std::mem::take(&mut state.wants_inputs))
    }

    /// Returns whether inputs are to be released, because the result is there and nothing runs.
    fn stage_ended(&self) -> bool {
        let mut state = self.state();
        state.stages -= 1;
        let idle = state.stages == 0 && state.has_result;
        idle && std::mem::take(&mut state.wants_inputs)
    }
}

/// Wants a vertex until dropped.
pub(crate) struct Interest<V, C>(Arc<Cell<V, C>>);

impl<V, C> Interest<V, C> {
    pub(crate) fn new(cell: &Arc<Cell<V, C>>) -> Self {
        cell.life.want();
        Self(Arc::clone(cell))
    }
}

impl<V, C> Drop for Interest<V, C> {
    fn drop(&mut self) {
        release(vec![Arc::clone(&self.0)]);
    }
}

impl<V, C> Cell<V, C> {
    /// Wants the inputs from now on; an error if nobody wants this vertex any more.
    pub(crate) fn want_inputs(&self) -> Outcome<()> {
        let mut state = self.life.state();
        if state.wanted == 0 {
            return Err(Failure::Cancelled);
        }
        if !std::mem::replace(&mut state.wants_inputs, true) {
            for input in &self.inputs {
                input.cell.life.want();
            }
        }
        Ok(())
    }

    /// Counts a stage that has ended.
    pub(crate) fn end_stage(&self) {
        if self.life.stage_ended() {
            release(self.input_cells());
        }
    }

    fn input_cells(&self) -> Vec<Arc<Self>> {
        self.inputs.iter().map(|i| Arc::clone(&i.cell)).collect()
    }
}

/// Takes one away from each cell, and so on down the graph: a loop, because graphs may be deep.
fn release<V, C>(mut pending: Vec<Arc<Cell<V, C>>>) {
    while let Some(cell) = pending.pop() {
        let (last, inputs) = cell.life.unwant();
        if last {
            cell.feed.cancel();
        }
        if inputs {
            pending.extend(cell.input_cells());
        }
    }
}
