//! What a vertex keeps of its events, for builds that join late (CSTA-03).
//!
//! Memory is bounded whatever a step writes: logs are kept up to [`LOG_BYTES`], then a notice takes
//! the place of the rest, which only those see who watch while it is written.

use std::collections::HashMap;
use std::time::SystemTime;

use lamina_types::LogStream;
use lamina_types::StepStatus;
use lamina_types::Warning;

/// Logs of one vertex that are kept: what somebody who comes late may still look at.
const LOG_BYTES: usize = 4 << 20;

/// What a piece of a log costs beside its bytes, so that many small ones count too.
const PIECE_BYTES: usize = 128;

const NOTICE: &str = "\n[output clipped, the rest was written before this build joined]\n";

/// An event without what depends on the build.
#[derive(Clone)]
pub(crate) enum Told {
    Times(Times),
    Status(StepStatus),
    Log(LogStream, Vec<u8>, SystemTime),
    Warning(Warning),
}

#[derive(Clone)]
pub(crate) struct Times {
    pub(crate) cached: bool,
    pub(crate) started: SystemTime,
    pub(crate) completed: Option<SystemTime>,
    pub(crate) error: Option<String>,
}

/// The events of one vertex so far.
#[derive(Default)]
pub(crate) struct Kept {
    events: Vec<Told>,
    /// Where among the events the last state of an action is.
    statuses: HashMap<String, usize>,
    log_bytes: usize,
}

impl Kept {
    /// Returns what somebody who joins now is told first.
    pub(crate) fn events(&self) -> &[Told] {
        &self.events
    }

    /// Keeps an event; of an action only its last state.
    pub(crate) fn keep(&mut self, told: Told) {
        match told {
            Told::Log(stream, data, time) => self.keep_log(stream, data, time),
            Told::Status(status) => self.keep_status(status),
            told => self.events.push(told),
        }
    }

    fn keep_status(&mut self, status: StepStatus) {
        if let Some(&at) = self.statuses.get(&status.id) {
            self.events[at] = Told::Status(status);
            return;
        }
        self.statuses.insert(status.id.clone(), self.events.len());
        self.events.push(Told::Status(status));
    }

    fn keep_log(&mut self, stream: LogStream, mut data: Vec<u8>, time: SystemTime) {
        let Some(room) = LOG_BYTES.checked_sub(self.log_bytes) else {
            return;
        };
        self.log_bytes += data.len() + PIECE_BYTES;
        if self.log_bytes > LOG_BYTES {
            data.truncate(room);
            data.extend(NOTICE.bytes());
        }
        self.events.push(Told::Log(stream, data, time));
    }

    /// Keeps nothing of what was.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(kept: &Kept) -> usize {
        let logs = kept.events().iter().map(|told| match told {
            Told::Log(_, data, _) => data.len() + PIECE_BYTES,
            _ => 0,
        });
        logs.sum()
    }

    #[test]
    fn logs_are_bounded_and_end_with_a_notice() {
        for (name, piece) in [("small", 1), ("odd", 1_000_003), ("huge", LOG_BYTES + 1)] {
            let mut kept = Kept::default();
            for _ in 0..LOG_BYTES / piece.min(PIECE_BYTES) {
                let told = Told::Log(LogStream::Stdout, vec![b'x'; piece], SystemTime::now());
                kept.keep(told);
                if kept.log_bytes > LOG_BYTES {
                    break;
                }
            }
            let full = bytes(&kept);
            assert!(full <= LOG_BYTES + NOTICE.len() + PIECE_BYTES, "{name}");
            kept.keep(Told::Log(LogStream::Stderr, vec![b'y'], SystemTime::now()));
            assert_eq!(bytes(&kept), full, "{name}");
            let notices = kept.events().iter().filter(
                |told| matches!(told, Told::Log(_, data, _) if data.ends_with(NOTICE.as_bytes())),
            );
            assert_eq!(notices.count(), 1, "{name}");
            kept.forget();
            assert_eq!(bytes(&kept), 0, "{name}");
        }
    }

    #[test]
    fn other_events_are_kept_after_the_logs_are_full() {
        let mut kept = Kept::default();
        let huge = vec![b'x'; LOG_BYTES + 1];
        kept.keep(Told::Log(LogStream::Stdout, huge, SystemTime::now()));
        kept.keep(Told::Warning(Warning::of("careful")));
        assert!(matches!(kept.events(), [Told::Log(..), Told::Warning(_)]));
    }
}
