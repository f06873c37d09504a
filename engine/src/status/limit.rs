//! Limits on the output of steps (row CSTA-11).
//!
//! A step that writes without end would fill disks and drown its watchers. Each of its two streams
//! has a budget; what is beyond is left out, with a notice where the gap begins. The last part is
//! kept aside, since it tells why a step failed.

use std::collections::VecDeque;
use std::time::SystemTime;

/// Bytes of one stream that are kept aside once output is left out.
const TAIL_BYTES: usize = 256 << 10;

/// More than a log that somebody reads, and less than what fills a disk.
const DEFAULT_SIZE: u64 = 128 << 20;

/// How much a step may write to each of its streams. By default 128 MiB, at any speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepLogLimits {
    /// Bytes in all; `None` = any number.
    pub size: Option<u64>,
    /// Bytes per second on average; `None` = any number.
    pub speed: Option<u64>,
}

impl Default for StepLogLimits {
    fn default() -> Self {
        Self {
            size: Some(DEFAULT_SIZE),
            speed: None,
        }
    }
}

impl StepLogLimits {
    /// Returns these limits, or those that users of BuildKit ask for with the variables
    /// `BUILDKIT_STEP_LOG_MAX_SIZE` and `BUILDKIT_STEP_LOG_MAX_SPEED` of the environment.
    #[must_use]
    pub fn or_environment(self) -> Self {
        let value = |name| std::env::var(name).ok();
        let size = value("BUILDKIT_STEP_LOG_MAX_SIZE");
        let speed = value("BUILDKIT_STEP_LOG_MAX_SPEED");
        self.or(size.as_deref(), speed.as_deref())
    }

    /// -1 is no limit, and what is no number changes nothing.
    fn or(self, size: Option<&str>, speed: Option<&str>) -> Self {
        Self {
            size: parse(size, self.size),
            speed: parse(speed, self.speed),
        }
    }

    /// Returns how many bytes may have been written after `seconds`, and the words for that limit.
    fn budget(self, seconds: u64) -> Option<(u64, Reason)> {
        let by_speed = self.speed.map(|speed| speed.saturating_mul(seconds));
        match (self.size, by_speed) {
            (Some(size), Some(by_speed)) if by_speed <= size => Some((by_speed, Reason::Speed)),
            (None, Some(by_speed)) => Some((by_speed, Reason::Speed)),
            (Some(size), _) => Some((size, Reason::Size)),
            (None, None) => None,
        }
    }

    fn words(self, reason: Reason) -> String {
        match reason {
            Reason::Size => iec(self.size.unwrap_or_default()),
            Reason::Speed => format!("{}/s", iec(self.speed.unwrap_or_default())),
        }
    }
}

fn parse(text: Option<&str>, default: Option<u64>) -> Option<u64> {
    match text.and_then(|text| text.trim().parse::<i64>().ok()) {
        None => default,
        Some(number) => u64::try_from(number).ok(),
    }
}

/// Which limit was reached.
#[derive(Clone, Copy)]
enum Reason {
    Size,
    Speed,
}

/// One stream of a step.
pub(super) struct LimitedStream {
    limits: StepLogLimits,
    since: SystemTime,
    written: u64,
    clipping: bool,
    /// The last bytes, from the first that were left out.
    tail: Option<VecDeque<u8>>,
}

impl LimitedStream {
    /// Starts a stream of a step that began at `since`.
    pub(super) fn new(limits: StepLogLimits, since: SystemTime) -> Self {
        Self {
            limits,
            since,
            written: 0,
            clipping: false,
            tail: None,
        }
    }

    /// Returns what is to be shown of `data`, with the notice if it is cut.
    pub(super) fn pass(&mut self, mut data: Vec<u8>, now: SystemTime) -> Vec<u8> {
        let elapsed = now.duration_since(self.since).unwrap_or_default();
        let seconds = elapsed.as_millis().div_ceil(1000).max(1);
        let budget = self
            .limits
            .budget(u64::try_from(seconds).unwrap_or(u64::MAX));
        let before = self.written;
        self.written = before.saturating_add(data.len() as u64);
        let Some((budget, reason)) = budget else {
            return data;
        };
        let room = usize::try_from(budget.saturating_sub(before)).unwrap_or(usize::MAX);
        if self.tail.is_some() || room < data.len() {
            self.keep(&data);
        }
        if room >= data.len() {
            self.clipping = false;
            return data;
        }
        data.truncate(room);
        if !self.clipping {
            self.clipping = true;
            let words = self.limits.words(reason);
            let notice = format!("\n[output clipped, log limit {words} reached]\n");
            data.extend(notice.into_bytes());
        }
        data
    }

    /// Returns what was kept aside, once: for steps that failed.
    pub(super) fn take_tail(&mut self) -> Option<Vec<u8>> {
        self.tail.take().map(Vec::from)
    }

    fn keep(&mut self, data: &[u8]) {
        let tail = self.tail.get_or_insert_default();
        let data = &data[data.len().saturating_sub(TAIL_BYTES)..];
        let excess = (tail.len() + data.len()).saturating_sub(TAIL_BYTES);
        tail.drain(..excess);
        tail.extend(data);
    }
}

/// Writes a number of bytes in the largest unit that it reaches.
fn iec(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.into_iter().find(|(size, _)| bytes >= *size);
    let Some((size, name)) = unit else {
        return format!("{bytes}B");
    };
    let (whole, rest) = (bytes / size, bytes % size);
    if rest == 0 {
        return format!("{whole}{name}");
    }
    let hundredths = rest * 100 / size;
    format!("{whole}.{hundredths:02}{name}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(size: Option<u64>, speed: Option<u64>) -> StepLogLimits {
        StepLogLimits { size, speed }
    }

    fn text(data: Vec<u8>) -> String {
        String::from_utf8(data).expect("text")
    }

    #[test]
    fn values_of_the_environment() {
        let default = StepLogLimits::default();
        for (name, size, speed, wanted) in [
            ("none", None, None, default),
            ("off", Some("-1"), Some("-1"), limits(None, None)),
            (
                "numbers",
                Some("10"),
                Some("20"),
                limits(Some(10), Some(20)),
            ),
            ("no numbers", Some("x"), Some(""), default),
        ] {
            assert_eq!(default.or(size, speed), wanted, "{name}");
        }
    }

    #[test]
    fn output_beyond_the_size_is_left_out_with_one_notice() {
        let start = SystemTime::now();
        let mut stream = LimitedStream::new(limits(Some(4), None), start);
        let mut pass = |data: &[u8]| text(stream.pass(data.to_vec(), start));
        assert_eq!(pass(b"abc"), "abc");
        assert_eq!(pass(b"defg"), "d\n[output clipped, log limit 4B reached]\n");
        assert_eq!(pass(b"hij"), "");
        assert_eq!(stream.take_tail().map(text).as_deref(), Some("defghij"));
        assert_eq!(stream.take_tail(), None);
    }

    #[test]
    fn the_budget_of_the_speed_grows() {
        let start = SystemTime::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut stream = LimitedStream::new(limits(None, Some(2 << 10)), start);
        let shown = stream.pass(vec![b'x'; 3 << 10], start);
        let notice = "\n[output clipped, log limit 2KiB/s reached]\n";
        assert_eq!(shown.len(), (2 << 10) + notice.len());
        assert!(text(shown).ends_with(notice));
        assert_eq!(stream.pass(vec![b'y'; 10], at(9)).len(), 10);
        let again = stream.pass(vec![b'z'; 99 << 10], at(9));
        assert!(
            text(again).ends_with(notice),
            "a new gap has its own notice"
        );
    }

    #[test]
    fn the_tail_is_bounded() {
        let start = SystemTime::now();
        let mut stream = LimitedStream::new(limits(Some(1), None), start);
        for _ in 0..5 {
            drop(stream.pass(vec![b'x'; 100_000], start));
        }
        drop(stream.pass(b"end".to_vec(), start));
        let tail = stream.take_tail().expect("kept");
        assert_eq!(tail.len(), TAIL_BYTES);
        assert!(tail.ends_with(b"xend"));
    }

    #[test]
    fn sizes_in_words() {
        for (bytes, words) in [
            (0, "0B"),
            (1023, "1023B"),
            (200 << 10, "200KiB"),
            (2 << 20, "2MiB"),
            (3 << 29, "1.50GiB"),
        ] {
            assert_eq!(iec(bytes), words);
        }
    }
}
