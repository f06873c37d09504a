//! What is tried again, how often and when.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use reqwest::header::RETRY_AFTER;

/// Longest wait that a registry may ask for; beyond it, its answer is the result.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How often a transient failure is tried again: answers 408, 429 and 5xx, and lost connections.
///
/// A connection that cannot be made is not transient: the user wants to hear of it at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// Attempts in all; at least one is made.
    pub attempts: u32,
    /// Wait before the second attempt; doubles each time.
    pub first_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_millis(250),
        }
    }
}

impl RetryPolicy {
    /// Makes a single attempt.
    pub(crate) const fn once(self) -> Self {
        Self {
            attempts: 1,
            ..self
        }
    }

    /// Returns the wait before the attempt after `failed` attempts; `None` = give up.
    pub(crate) fn wait_after(&self, failed: u32) -> Option<Duration> {
        let doublings = failed.saturating_sub(1).min(16);
        (failed < self.attempts).then(|| (self.first_wait * (1 << doublings)).min(MAX_WAIT))
    }
}

/// Says whether the same request may be answered otherwise a little later.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Returns the wait that the registry asks for, if it says so in seconds and it is bearable.
pub(crate) fn wait_wanted(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds)).filter(|wait| *wait <= MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let policy = RetryPolicy {
            attempts: 4,
            first_wait: Duration::from_millis(100),
        };
        let waits: Vec<_> = (1..=4).map(|failed| policy.wait_after(failed)).collect();
        let milliseconds = |ms| Some(Duration::from_millis(ms));
        assert_eq!(
            waits,
            [
                milliseconds(100),
                milliseconds(200),
                milliseconds(400),
                None
            ]
        );
        assert_eq!(policy.once().wait_after(1), None);
        let endless = RetryPolicy {
            attempts: u32::MAX,
            ..policy
        };
        assert_eq!(endless.wait_after(1_000_000), Some(MAX_WAIT));
    }

    #[test]
    fn only_bearable_waits_are_taken_over() {
        for (text, seconds) in [
            ("1", Some(1)),
            ("30", Some(30)),
            ("31", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a value"))]);
            assert_eq!(
                wait_wanted(&headers),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
    }
}
