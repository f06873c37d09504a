//! Slots: how many ops run at once, and whose turn is next (row CFG-06).
//!
//! Builds take turns, not steps. A free slot goes to the waiting build that has the fewest of them,
//! and among equals to the one whose last turn is longest ago; within a build, to the op that waits
//! longest. So a build with a thousand steps delays one with a single step by one step at most.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::sync::oneshot;

/// Tells builds apart.
pub(crate) type BuildNumber = u64;

/// The slots of a solver. Clones share them.
#[derive(Clone)]
pub(crate) struct Slots(Arc<Mutex<Table>>);

struct Table {
    free: usize,
    /// How many turns there have been.
    turn: u64,
    /// Those that have a slot or wait for one.
    builds: BTreeMap<BuildNumber, Turns>,
}

/// What one build has and wants.
struct Turns {
    taken: usize,
    /// When it last had its turn, or came: twice the number of turns so far, and one more for a turn,
    /// so that who comes during a turn is before the build that has it.
    last: u64,
    waiting: VecDeque<oneshot::Sender<Slot>>,
}

/// A slot; free again when dropped.
pub(crate) struct Slot {
    slots: Slots,
    build: BuildNumber,
}

impl Slots {
    /// Makes so many slots, at least one.
    pub(crate) fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(Table {
            free: count.max(1),
            turn: 0,
            builds: BTreeMap::new(),
        })))
    }

    /// Waits for a slot on behalf of `build`. Dropping the future gives up the place in the queue.
    pub(crate) async fn take(&self, build: BuildNumber) -> Option<Slot> {
        let (sender, receiver) = oneshot::channel();
        self.table().enqueue(build, sender);
        self.hand_out();
        // There is a sender until there is a slot.
        receiver.await.ok()
    }

    /// Gives away what is free. Outside of the lock, since a slot that nobody takes comes back.
    fn hand_out(&self) {
        loop {
            let next = self.table().next();
            let Some((build, sender)) = next else { return };
            let slots = self.clone();
            drop(sender.send(Slot { slots, build }));
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn enqueue(&mut self, build: BuildNumber, sender: oneshot::Sender<Slot>) {
        let last = 2 * self.turn;
        let turns = self.builds.entry(build).or_insert_with(|| Turns {
            taken: 0,
            last,
            waiting: VecDeque::new(),
        });
        turns.waiting.push_back(sender);
    }

    /// Takes a free slot for the op whose turn it is.
    fn next(&mut self) -> Option<(BuildNumber, oneshot::Sender<Slot>)> {
        self.forget_those_who_left();
        if self.free == 0 {
            return None;
        }
        let waiting = self.builds.iter_mut();
        let waiting = waiting.filter(|(_, turns)| !turns.waiting.is_empty());
        let (&build, turns) = waiting.min_by_key(|(_, turns)| (turns.taken, turns.last))?;
        let sender = turns.waiting.pop_front()?;
        self.free -= 1;
        self.turn += 1;
        turns.taken += 1;
        turns.last = 2 * self.turn + 1;
        Some((build, sender))
    }

    fn forget_those_who_left(&mut self) {
        self.builds.retain(|_, turns| {
            turns.waiting.retain(|sender| !sender.is_closed());
            turns.taken > 0 || !turns.waiting.is_empty()
        });
    }

    fn give_back(&mut self, build: BuildNumber) {
        self.free += 1;
        if let Some(turns) = self.builds.get_mut(&build) {
            turns.taken = turns.taken.saturating_sub(1);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.table().give_back(self.build);
        self.slots.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::FutureExt as _;

    use super::*;

    type Waiting = (BuildNumber, Pin<Box<dyn Future<Output = Option<Slot>>>>);

    /// Lets `builds` ask for a slot each, in this order.
    fn ask(slots: &Slots, builds: &[BuildNumber]) -> Vec<Waiting> {
        let ask = |&build: &BuildNumber| {
            let slots = slots.clone();
            let mut waiting: Waiting = (build, Box::pin(async move { slots.take(build).await }));
            // The place in the queue is taken when it is first polled.
            let taken = (&mut waiting.1).now_or_never();
            assert!(taken.is_none(), "a slot was free");
            waiting
        };
        builds.iter().map(ask).collect()
    }

    /// Takes the slots that have been handed out to some of `waiting`.
    fn taken(waiting: &mut Vec<Waiting>) -> Vec<(BuildNumber, Slot)> {
        let mut taken = Vec::new();
        waiting.retain_mut(|(build, future)| match future.now_or_never() {
            Some(slot) => {
                taken.push((*build, slot.expect("a slot")));
                false
            }
            None => true,
        });
        taken
    }

    /// The order of turns with one slot, which build 0 has at first.
    fn order(builds: &[BuildNumber]) -> Vec<BuildNumber> {
        let slots = Slots::new(1);
        let mut held = slots.take(0).now_or_never().flatten();
        let mut waiting = ask(&slots, builds);
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(held.take());
            let mut next = taken(&mut waiting);
            assert_eq!(next.len(), 1, "one slot");
            let (build, slot) = next.remove(0);
            order.push(build);
            held = Some(slot);
        }
        order
    }

    #[test]
    fn builds_take_turns() {
        for (name, asked, served) in [
            ("one build in its order", &[1, 1, 1][..], &[1, 1, 1][..]),
            ("a late build waits once", &[1, 1, 1, 2], &[1, 2, 1, 1]),
            ("three", &[1, 1, 2, 2, 3, 3], &[1, 2, 3, 1, 2, 3]),
            ("the rest goes on", &[1, 2, 2, 2], &[1, 2, 2, 2]),
        ] {
            assert_eq!(order(asked), served, "{name}");
        }
    }

    #[test]
    fn who_has_fewest_comes_first() {
        let slots = Slots::new(3);
        let mut held: Vec<Slot> = (0..3)
            .filter_map(|_| slots.take(1).now_or_never().flatten())
            .collect();
        let mut waiting = ask(&slots, &[1, 1, 2, 2]);
        let mut order = Vec::new();
        while let Some(slot) = held.pop() {
            drop(slot);
            let next = taken(&mut waiting);
            order.extend(next.iter().map(|(build, _)| *build));
            // Kept for good: only those of the beginning come back.
            next.into_iter()
                .for_each(|(_, slot)| std::mem::forget(slot));
        }
        assert_eq!(
            order,
            [2, 1, 2],
            "build 1 had all three, then both have as many"
        );
    }

    #[test]
    fn places_of_those_who_leave_are_skipped() {
        let slots = Slots::new(0);
        let held = slots.take(1).now_or_never().flatten();
        assert!(held.is_some(), "there is always one");
        let mut waiting = ask(&slots, &[2, 3]);
        drop(waiting.remove(0));
        drop(held);
        let mut next = taken(&mut waiting);
        assert_eq!(next.len(), 1);
        assert_eq!(next[0].0, 3);
        // A slot that was handed out and never looked at is free again.
        let unseen = ask(&slots, &[4]);
        drop(next.pop());
        drop(unseen);
        assert!(slots.take(5).now_or_never().flatten().is_some());
    }
}
