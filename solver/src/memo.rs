//! One stage of a vertex: started when somebody asks, shared by all who ask, remembered once done.
//!
//! A stage runs in a task of its own, so no waiter's fate decides about it. It belongs to the
//! vertex's current *run* (`life`): when nobody wants the vertex any more the run ends and with it
//! all stages that are not done; whoever asks next starts anew. A failure is kept for the builds
//! that were there when it happened, so that a build never repeats a failing step; the first build
//! that joins later tries again.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_types::CancelToken;
use tokio::sync::watch;

use crate::error::SolveError;

/// Why a stage has no value.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// Nobody wants it any more.
    Cancelled,
    /// The step failed.
    Failed(SolveError),
    /// Another made it in the meantime: look again.
    Superseded,
}

pub(crate) type Outcome<T> = Result<T, Failure>;

/// A stage's work.
pub(crate) type Work<T> = Pin<Box<dyn Future<Output = Outcome<T>> + Send>>;

/// A run of a vertex, as a stage sees it.
#[derive(Clone)]
pub(crate) struct Run {
    /// Differs between the runs of one vertex.
    pub(crate) number: u64,
    /// Cancelled at the end of the run.
    pub(crate) cancel: CancelToken,
}

/// What a stage must know of its vertex.
pub(crate) trait Owner: Send + Sync + 'static {
    /// Returns the current run; `None` if nobody wants the vertex.
    fn run(&self) -> Option<Run>;
    /// Counts a stage that has started.
    fn stage_started(&self);
    /// Counts a stage that has ended.
    fn stage_ended(&self);
    /// Returns a number that changes when a build joins.
    fn builds_joined(&self) -> u64;
}

/// A memoised stage.
pub(crate) struct Memo<T>(Mutex<Slot<T>>);

enum Slot<T> {
    Idle,
    Running(u64, Receiver<T>),
    Done(T),
    Failed(SolveError, u64),
}

type Receiver<T> = watch::Receiver<Option<Outcome<T>>>;

/// A stage that somebody may wait for.
pub(crate) enum Entry<T> {
    Ready(Outcome<T>),
    Wait(Receiver<T>),
}

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Self(Mutex::new(Slot::Idle))
    }
}

impl<T: Clone + Send + Sync + 'static> Memo<T> {
    /// Returns the value if the stage is done.
    pub(crate) fn peek(&self) -> Option<T> {
        match &*self.slot() {
            Slot::Done(value) => Some(value.clone()),
            _ => None,
        }
    }

    /// Returns the stage's outcome, and does `work` for it unless that is done or being done.
    pub(crate) async fn get<O: Owner>(
        self: &Arc<Self>,
        owner: &Arc<O>,
        work: impl FnOnce(Run) -> Work<T>,
    ) -> Outcome<T> {
        self.enter(owner, work).outcome().await
    }

    /// Returns the stage if it is done or being done.
    pub(crate) fn join<O: Owner>(&self, owner: &O) -> Option<Entry<T>> {
        match &*self.slot() {
            Slot::Done(value) => Some(Entry::Ready(Ok(value.clone()))),
            Slot::Running(number, receiver) if is_current(owner, *number) => {
                Some(Entry::Wait(receiver.clone()))
            }
            _ => None,
        }
    }

    fn enter<O: Owner>(
        self: &Arc<Self>,
        owner: &Arc<O>,
        work: impl FnOnce(Run) -> Work<T>,
    ) -> Entry<T> {
        let mut slot = self.slot();
        match &*slot {
            Slot::Done(value) => return Entry::Ready(Ok(value.clone())),
            Slot::Failed(error, joined) if *joined == owner.builds_joined() => {
                return Entry::Ready(Err(Failure::Failed(error.clone())));
            }
            Slot::Running(number, receiver) if is_current(&**owner, *number) => {
                return Entry::Wait(receiver.clone());
            }
            _ => {}
        }
        let Some(run) = owner.run() else {
            return Entry::Ready(Err(Failure::Cancelled));
        };
        let (sender, receiver) = watch::channel(None);
        *slot = Slot::Running(run.number, receiver.clone());
        drop(slot);
        let work = work(run.clone());
        self.start(owner, run, work, sender);
        Entry::Wait(receiver)
    }

    fn start<O: Owner>(
        self: &Arc<Self>,
        owner: &Arc<O>,
        run: Run,
        work: Work<T>,
        sender: watch::Sender<Option<Outcome<T>>>,
    ) {
        let memo = Arc::clone(self);
        let owner = Arc::clone(owner);
        owner.stage_started();
        tokio::spawn(async move {
            let outcome = until_cancelled(&run.cancel, work).await;
            memo.finish(run.number, &outcome, owner.builds_joined());
            owner.stage_ended();
            drop(sender.send(Some(outcome)));
        });
    }

    fn finish(&self, number: u64, outcome: &Outcome<T>, joined: u64) {
        let mut slot = self.slot();
        if !matches!(&*slot, Slot::Running(current, _) if *current == number) {
            return;
        }
        *slot = match outcome {
            Ok(value) => Slot::Done(value.clone()),
            Err(Failure::Cancelled | Failure::Superseded) => Slot::Idle,
            Err(Failure::Failed(error)) => Slot::Failed(error.clone(), joined),
        };
    }

    fn slot(&self) -> MutexGuard<'_, Slot<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Entry<T> {
    pub(crate) async fn outcome(self) -> Outcome<T> {
        let mut receiver = match self {
            Self::Ready(outcome) => return outcome,
            Self::Wait(receiver) => receiver,
        };
        match receiver.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(Failure::Cancelled)),
            Err(_) => Err(Failure::Cancelled),
        }
    }
}

fn is_current<O: Owner>(owner: &O, number: u64) -> bool {
    owner.run().is_some_and(|run| run.number == number)
}

/// Does `work`, and drops it when cancelled.
async fn until_cancelled<T>(cancel: &CancelToken, work: Work<T>) -> Outcome<T> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::Cancelled),
        outcome = work => outcome,
    }
}
