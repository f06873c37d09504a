//! What pool and keeper share, and the keeper's work.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Lease;
use super::Ready;
use super::Wired;
use super::Wiring;
use crate::NetworkError;

/// How long namespaces are kept ready that nobody has asked to be.
const IDLE: Duration = Duration::from_secs(60);

/// A step that has no namespace yet.
pub(super) struct Waiter {
    /// Empty where it makes no difference.
    pub(super) hostname: String,
    pub(super) answer: oneshot::Sender<Result<Lease, NetworkError>>,
}

/// What is to be done, and a way to tell of more.
pub(super) struct Shared {
    plan: Ready,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Wired>,
    waiting: VecDeque<Waiter>,
    gone: VecDeque<Wired>,
    /// How many are to be ready now.
    wanted: usize,
    /// Whether making one ready has failed; that is not tried again before a step asks.
    failed: bool,
    stopping: bool,
}

/// What the keeper is to do next.
enum Task {
    Make(Waiter),
    Fill,
    Unmake(Wired),
    Stop,
}

impl Shared {
    pub(super) fn new(plan: Ready) -> Self {
        let wanted = match plan {
            Ready::Always(count) => count,
            Ready::InUse(_) => 0,
        };
        Self {
            plan,
            state: Mutex::new(State {
                wanted,
                ..State::default()
            }),
            changed: Condvar::new(),
        }
    }

    /// Takes one that is ready, unless it has to be `made_to_order`; the keeper makes another.
    pub(super) fn ready_one(&self, made_to_order: bool) -> Option<Wired> {
        self.tell(|state| {
            state.failed = false;
            state.wanted = self.plan.count();
            if made_to_order {
                return None;
            }
            state.ready.pop_front()
        })
    }

    /// Has the keeper make one.
    pub(super) fn wait_for(&self, waiter: Waiter) {
        self.tell(|state| {
            if !state.stopping {
                state.waiting.push_back(waiter);
            }
        });
    }

    /// Has the keeper take one down.
    pub(super) fn give_back(&self, wired: Wired) {
        self.tell(|state| state.gone.push_back(wired));
    }

    /// Has the keeper take everything down and end.
    pub(super) fn stop(&self) {
        self.tell(|state| {
            state.stopping = true;
            state.waiting.clear();
        });
    }

    pub(super) fn lease(self: &Arc<Self>, wired: Wired) -> Lease {
        Lease {
            wired: Some(wired),
            shared: Arc::clone(self),
        }
    }

    fn tell<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let told = change(&mut self.lock());
        self.changed.notify_one();
        told
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do.
    fn next(&self) -> Task {
        let mut state = self.lock();
        loop {
            if let Some(task) = state.task() {
                return task;
            }
            let waited = self.changed.wait_timeout(state, IDLE);
            let (after, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            if waited.timed_out() && matches!(self.plan, Ready::InUse(_)) {
                state.wanted = 0;
            }
        }
    }
}

impl State {
    fn task(&mut self) -> Option<Task> {
        if self.stopping {
            return Some(Task::Stop);
        }
        if let Some(waiter) = self.waiting.pop_front() {
            return Some(Task::Make(waiter));
        }
        if self.ready.len() < self.wanted && !self.failed {
            return Some(Task::Fill);
        }
        if self.ready.len() > self.wanted {
            self.gone.extend(self.ready.pop_back());
        }
        self.gone.pop_front().map(Task::Unmake)
    }
}

impl Ready {
    fn count(self) -> usize {
        match self {
            Self::Always(count) | Self::InUse(count) => count,
        }
    }
}

/// Works until told to stop, then takes down what nobody uses.
pub(super) fn keep(shared: &Arc<Shared>, mut wiring: impl Wiring) {
    loop {
        match shared.next() {
            Task::Make(waiter) => {
                let made = make(shared, &mut wiring, &waiter.hostname);
                // Nobody may want it any more; then it comes back.
                drop(waiter.answer.send(made.map(|wired| shared.lease(wired))));
            }
            Task::Fill => fill(shared, &mut wiring),
            Task::Unmake(wired) => unmake(&mut wiring, &wired),
            Task::Stop => break,
        }
    }
    let left = shared.tell(|state| {
        let mut left = std::mem::take(&mut state.ready);
        left.append(&mut state.gone);
        left
    });
    for wired in left {
        unmake(&mut wiring, &wired);
    }
}

/// Makes one; where there is no room, takes down what nobody uses first.
fn make(shared: &Shared, wiring: &mut impl Wiring, hostname: &str) -> Result<Wired, NetworkError> {
    loop {
        let full = match wiring.make(hostname) {
            Err(error @ NetworkError::Full(_)) => error,
            made => return made,
        };
        match shared.tell(|state| state.gone.pop_front()) {
            Some(wired) => unmake(wiring, &wired),
            None => return Err(full),
        }
    }
}

fn fill(shared: &Shared, wiring: &mut impl Wiring) {
    let made = wiring.make("");
    shared.tell(|state| match made {
        Ok(wired) => state.ready.push_back(wired),
        Err(error) => {
            state.failed = true;
            tracing::warn!(%error, "no network could be made ready");
        }
    });
}

fn unmake(wiring: &mut impl Wiring, wired: &Wired) {
    if let Err(error) = wiring.unmake(wired) {
        tracing::warn!(%error, "the network of a step was not taken down");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use super::super::Pool;
    use super::*;
    use crate::namespace;

    /// Counts what there is; refuses the numbers that it is told to.
    struct Counting {
        there: Arc<AtomicUsize>,
        made: usize,
        refused: std::ops::Range<usize>,
    }

    impl Wiring for Counting {
        fn make(&mut self, hostname: &str) -> Result<Wired, NetworkError> {
            self.made += 1;
            if self.refused.contains(&self.made) {
                return Err(NetworkError::NoUplink);
            }
            self.there.fetch_add(1, Ordering::SeqCst);
            Ok(Wired {
                namespace: namespace::current().expect("a namespace"),
                name: format!("{} {hostname}", self.made),
            })
        }

        fn unmake(&mut self, _: &Wired) -> Result<(), NetworkError> {
            self.there.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }

        fn tells_hostname(&self) -> bool {
            true
        }

        fn describe(&self) -> String {
            "counted".to_owned()
        }
    }

    fn pool(ready: Ready, refused: std::ops::Range<usize>) -> (Pool, Arc<AtomicUsize>) {
        let there = Arc::new(AtomicUsize::new(0));
        let wiring = Counting {
            there: Arc::clone(&there),
            made: 0,
            refused,
        };
        (Pool::start(ready, || Ok(wiring)).expect("starts"), there)
    }

    fn name(lease: &Lease) -> String {
        lease.wired.as_ref().expect("there").name.clone()
    }

    #[tokio::test]
    async fn everything_that_was_made_is_taken_down() {
        let (pool, there) = pool(Ready::InUse(3), 0..0);
        let mut leases = Vec::new();
        for _ in 0..10 {
            leases.push(pool.take("").await.expect("made"));
        }
        let mut names: Vec<String> = leases.iter().map(name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 10);
        drop(leases);
        // Asked for, and no longer waited for.
        drop(tokio::time::timeout(Duration::ZERO, pool.take("own")).await);
        drop(pool);
        assert_eq!(there.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_host_name_is_made_to_order() {
        let (pool, _) = pool(Ready::Always(1), 0..0);
        assert!(name(&pool.take("own").await.expect("made")).ends_with(" own"));
        assert!(name(&pool.take("").await.expect("made")).ends_with(' '));
    }

    #[tokio::test]
    async fn a_failure_is_told_to_who_waits_and_not_kept() {
        let (pool, _) = pool(Ready::InUse(0), 1..3);
        for expected in [false, false, true] {
            assert_eq!(pool.take("").await.is_ok(), expected);
        }
    }

    #[tokio::test]
    async fn a_beginning_that_fails_is_told() {
        let begin = || Err::<Counting, _>(NetworkError::NoUplink);
        let started = Pool::start(Ready::Always(1), begin);
        assert!(matches!(started.err(), Some(NetworkError::NoUplink)));
    }
}
