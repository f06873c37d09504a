//! Where a build's events go, and how much of its steps' logs is on the way there.
//!
//! Events queue without a bound, since those who tell must not block. A process that writes faster than
//! its log is written down is the one thing that could fill memory so; who reads its output asks first
//! (`Progress::is_behind`).

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc::UnboundedSender;

use crate::events::Event;

/// Bytes from which on processes wait. A log that is quick always has some on the way.
const MUCH: usize = 8 << 20;

/// Counts bytes of logs that were sent and not taken yet, and what it takes to keep them.
#[derive(Debug, Default)]
pub struct Backlog(AtomicUsize);

impl Backlog {
    /// Notes that whoever receives the events has taken one with so many bytes of logs.
    pub fn take(&self, bytes: usize) {
        self.0.fetch_sub(weight(bytes), Ordering::Relaxed);
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(weight(bytes), Ordering::Relaxed);
    }

    fn is_much(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MUCH
    }
}

/// A process may write single bytes, so an event counts beside what is in it.
fn weight(bytes: usize) -> usize {
    bytes + size_of::<Event>()
}

/// Sends events of a build. A receiver that went away is no error.
#[derive(Clone, Debug)]
pub struct EventSender {
    events: UnboundedSender<Event>,
    /// Kept by a receiver that says what it takes.
    backlog: Option<Arc<Backlog>>,
    /// Whom the receiver hands the events on to.
    next: Option<Arc<Self>>,
}

impl From<UnboundedSender<Event>> for EventSender {
    /// For a receiver that keeps up with everything.
    fn from(events: UnboundedSender<Event>) -> Self {
        Self {
            events,
            backlog: None,
            next: None,
        }
    }
}

impl EventSender {
    /// For a receiver that notes in `backlog` what it takes.
    #[must_use]
    pub fn counted(events: UnboundedSender<Event>, backlog: Arc<Backlog>) -> Self {
        Self {
            events,
            backlog: Some(backlog),
            next: None,
        }
    }

    /// Counts as being behind if `next` is, to whom the receiver hands the events on.
    #[must_use]
    pub fn followed_by(self, next: Self) -> Self {
        let next = Some(Arc::new(next));
        Self { next, ..self }
    }

    /// Sends an event.
    pub fn send(&self, event: Event) {
        if let (Event::Log { data, .. }, Some(backlog)) = (&event, &self.backlog) {
            backlog.add(data.len());
        }
        drop(self.events.send(event));
    }

    /// Says whether the receiver is far behind; one that went away never is.
    pub(crate) fn is_behind(&self) -> bool {
        let is_much = self.backlog.as_ref().is_some_and(|log| log.is_much());
        let is_late = is_much && !self.events.is_closed();
        is_late || self.next.as_ref().is_some_and(|next| next.is_behind())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use lamina_types::Digest;
    use lamina_types::LogStream;

    use super::*;

    #[test]
    fn what_was_taken_counts_no_more() {
        let backlog = Arc::new(Backlog::default());
        let (events, received) = tokio::sync::mpsc::unbounded_channel();
        let sender = EventSender::counted(events, Arc::clone(&backlog));
        let log = |bytes: usize| Event::Log {
            vertex: Digest::of(b"x"),
            stream: LogStream::Stdout,
            data: vec![0; bytes],
            time: SystemTime::UNIX_EPOCH,
        };
        sender.send(log(MUCH - weight(0)));
        assert!(!sender.is_behind());
        sender.send(log(1));
        assert!(sender.is_behind());
        let (events, _received) = tokio::sync::mpsc::unbounded_channel();
        let before = EventSender::from(events).followed_by(sender.clone());
        assert!(before.is_behind(), "the next one is");
        backlog.take(MUCH - weight(0));
        assert!(!sender.is_behind() && !before.is_behind());
        sender.send(log(MUCH));
        assert!(sender.is_behind());
        drop(received);
        assert!(!sender.is_behind(), "nobody is there to wait for");
    }
}
