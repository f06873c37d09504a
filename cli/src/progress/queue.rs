//! What a build has told and the display has not shown yet.
//!
//! ```text
//! an engine in here, a daemon ──► Teller ──► Pending ──► Told ──► the display, held up by its screen
//! ```
//! A screen may be slower than a build, and it may take nothing for hours (Ctrl-S, a pager in which
//! nobody turns pages). What waits is bounded either way:
//!
//! - the state of a step or of an action replaces an older one that was not shown yet;
//! - of logs [`MAX_WEIGHT`] may wait. While the display gets on, whoever tells waits for it, and nothing
//!   is lost. If it has not moved for the [`Patience`], the oldest output is left out, and a line in
//!   its place says how much. The records of builds have it in full.

mod pending;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use lamina_solver::Backlog;
use lamina_solver::Event;
use tokio::sync::Notify;
use tokio::time::Instant;

use pending::Pending;

/// Bytes of logs, with what it takes to keep them, that wait for the display.
const MAX_WEIGHT: usize = 8 << 20;

/// How long a display that does not move is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(Duration);

impl Patience {
    /// With a build that goes on.
    pub(crate) const SHORT: Self = Self(Duration::from_secs(2));
    /// With nothing to do but showing: longer than anybody looks at a screen.
    pub(crate) const EVER: Self = Self(Duration::from_secs(365 * 24 * 3600));
}

/// The end for whoever tells. The display ends after the last event once this is dropped.
pub(crate) struct Teller {
    shared: Arc<Shared>,
    patience: Patience,
}

/// The display's end.
pub(super) struct Told(Arc<Shared>);

struct Shared {
    pending: Mutex<Pending>,
    /// Something was told.
    told: Notify,
    /// Something was shown.
    shown: Notify,
}

/// Returns both ends. What is shown of logs, or left out, is noted in `backlog`.
pub(super) fn queue(patience: Patience, backlog: Option<Arc<Backlog>>) -> (Teller, Told) {
    let shared = Arc::new(Shared {
        pending: Mutex::new(Pending::new(backlog)),
        told: Notify::new(),
        shown: Notify::new(),
    });
    let told = Told(Arc::clone(&shared));
    (Teller { shared, patience }, told)
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Teller {
    /// Tells an event, then waits until there is room for another.
    pub(crate) async fn tell(&self, event: Event) {
        self.put(event);
        self.room().await;
    }

    /// Tells an event without waiting.
    pub(super) fn put(&self, event: Event) {
        self.shared.pending().put(event);
        self.shared.told.notify_one();
    }

    /// Says whether more waits than may.
    pub(super) fn is_full(&self) -> bool {
        self.shared.pending().is_full()
    }

    /// Waits until the display has made room, or out of patience makes it.
    pub(super) async fn room(&self) {
        loop {
            let late = {
                let mut pending = self.shared.pending();
                if !pending.is_full() {
                    return;
                }
                let late = pending.moved() + self.patience.0;
                if late <= Instant::now() {
                    return pending.leave_out();
                }
                late
            };
            // Either way it is looked at again.
            drop(tokio::time::timeout_at(late, self.shared.shown.notified()).await);
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.shared.pending().close();
        self.shared.told.notify_one();
    }
}

impl Told {
    /// Returns the next event, `None` after the last. Can be dropped while it waits.
    pub(super) async fn next(&self) -> Option<Event> {
        loop {
            let (event, closed) = {
                let mut pending = self.0.pending();
                (pending.take(), pending.is_closed())
            };
            self.0.shown.notify_one();
            if event.is_some() || closed {
                return event;
            }
            self.0.told.notified().await;
        }
    }

    /// Returns the next event if it is there.
    pub(super) fn try_next(&self) -> Option<Event> {
        let event = self.0.pending().take();
        self.0.shown.notify_one();
        event
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.0.pending().abandon();
        self.0.shown.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use lamina_types::Digest;
    use lamina_types::LogStream;

    use super::*;

    fn log(bytes: usize) -> Event {
        Event::Log {
            vertex: Digest::of(b"a"),
            stream: LogStream::Stdout,
            data: vec![b'x'; bytes],
            time: SystemTime::UNIX_EPOCH,
        }
    }

    fn text(event: &Event) -> String {
        match event {
            Event::Log { data, .. } => String::from_utf8_lossy(data).into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_display_that_moves_is_waited_for() {
        let (teller, told) = queue(Patience::SHORT, None);
        let half = MAX_WEIGHT / 2;
        let telling = async {
            for _ in 0..10 {
                teller.tell(log(half)).await;
            }
            drop(teller);
        };
        let showing = async {
            let mut bytes = 0;
            while let Some(event) = told.next().await {
                bytes += text(&event).len();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            bytes
        };
        let ((), bytes) = tokio::join!(telling, showing);
        assert_eq!(bytes, 10 * half, "all of it");
    }

    #[tokio::test]
    async fn a_display_that_does_not_move_loses_the_oldest() {
        let (teller, told) = queue(Patience(Duration::from_millis(50)), None);
        let begun = Instant::now();
        for _ in 0..100 {
            teller.tell(log(1 << 20)).await;
        }
        assert!(
            begun.elapsed() >= Duration::from_millis(50),
            "it was waited for"
        );
        teller.tell(log(7)).await;
        drop(teller);
        let first = text(&told.next().await.expect("a notice"));
        let kept: usize = {
            let mut kept = 0;
            while let Some(event) = told.next().await {
                kept += text(&event).len();
            }
            kept
        };
        let left_out = 100 * (1 << 20) + 7 - kept;
        assert_eq!(
            first,
            format!("[... {left_out} bytes left out: the screen did not take them ...]\n")
        );
        assert!(kept <= MAX_WEIGHT && kept > MAX_WEIGHT / 2, "{kept}");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_display_that_has_gone() {
        let (teller, told) = queue(Patience::EVER, None);
        teller.put(log(2 * MAX_WEIGHT));
        drop(told);
        teller.tell(log(2 * MAX_WEIGHT)).await;
    }
}
