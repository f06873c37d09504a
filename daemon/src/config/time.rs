//! Durations: a number of seconds, or text such as `1h30m` (row CFG-07).

use std::time::Duration;

use toml::Value;

/// Units as Go writes them, in nanoseconds. Longer names come before their beginnings.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// Reads `3600`, `"3600"`, `"24h"`, `"1h30m"`, `"1.5h"`.
pub(super) fn read(value: Value) -> Result<Duration, String> {
    match value {
        Value::Integer(seconds) => u64::try_from(seconds)
            .map(Duration::from_secs)
            .map_err(|_| format!("invalid duration {seconds}")),
        Value::String(text) => {
            parse_duration(&text).ok_or_else(|| format!("invalid duration {text}"))
        }
        other => Err(format!("invalid duration: found a {}", other.type_str())),
    }
}

/// Reads `3600`, `24h` or `1h30m`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text.is_empty() {
        return Some(Duration::ZERO);
    }
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        // "m" begins "ms" too, so that the longest unit counts.
        let units = UNITS.iter().filter(|(unit, _)| after.starts_with(unit));
        let (unit, nanoseconds) = units.max_by_key(|(unit, _)| unit.len())?;
        let seconds = number.parse::<f64>().ok()? * (*nanoseconds as f64) / 1e9;
        total = total.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
        rest = &after[unit.len()..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_text() {
        for (text, seconds) in [
            ("", 0.0),
            ("3600", 3600.0),
            ("24h", 86400.0),
            ("1h30m", 5400.0),
            ("1.5h", 5400.0),
            ("1m1ms", 60.001),
            ("500ms", 0.5),
        ] {
            let expected = Duration::from_secs_f64(seconds);
            assert_eq!(read(Value::String(text.to_owned())), Ok(expected), "{text}");
        }
        for text in [
            "x",
            "1x",
            "h",
            "-1h",
            "1h2",
            "1.2.3s",
            "1e400h",
            "99999999999999999999999h",
        ] {
            assert!(read(Value::String(text.to_owned())).is_err(), "{text}");
        }
        assert_eq!(read(Value::Integer(7200)), Ok(Duration::from_secs(7200)));
        assert!(read(Value::Integer(-1)).is_err());
    }
}
