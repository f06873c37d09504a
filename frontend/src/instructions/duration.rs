//! Times such as `1m30s`, read and written as Go does.

use crate::quote::quoted;

/// Says why a text is not a time.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// No number, or out of range.
    #[error("time: invalid duration {}", quoted(.text))]
    Invalid {
        /// What was given.
        text: String,
    },
    /// A number without a unit.
    #[error("time: missing unit in duration {}", quoted(.text))]
    MissingUnit {
        /// What was given.
        text: String,
    },
    /// A unit that is not known.
    #[error("time: unknown unit {} in duration {}", quoted(.unit), quoted(.text))]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// What was given.
        text: String,
    },
}

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a time and returns it in nanoseconds.
pub(crate) fn parse(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid {
        text: text.to_owned(),
    };
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let (nanoseconds, left) = component(rest, text)?;
        total = total.checked_add(nanoseconds).ok_or_else(invalid)?;
        rest = left;
    }
    Ok(if negative { -total } else { total })
}

/// Reads one number with its unit.
fn component<'a>(rest: &'a str, text: &str) -> Result<(i64, &'a str), DurationError> {
    let invalid = || DurationError::Invalid {
        text: text.to_owned(),
    };
    let digits_end = |text: &str| {
        text.find(|ch: char| !ch.is_ascii_digit())
            .unwrap_or(text.len())
    };
    let (whole, rest) = rest.split_at(digits_end(rest));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits_end(rest)),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let unit_end = rest
        .find(|ch: char| ch == '.' || ch.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let scale = unit_scale(unit, text)?;
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| invalid())?
    };
    let nanoseconds = whole.checked_mul(scale).ok_or_else(invalid)?;
    let sum = nanoseconds
        .checked_add(scaled_fraction(fraction, scale))
        .ok_or_else(invalid)?;
    Ok((sum, rest))
}

fn unit_scale(unit: &str, text: &str) -> Result<i64, DurationError> {
    if unit.is_empty() {
        return Err(DurationError::MissingUnit {
            text: text.to_owned(),
        });
    }
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    known
        .map(|(_, scale)| *scale)
        .ok_or_else(|| DurationError::UnknownUnit {
            unit: unit.to_owned(),
            text: text.to_owned(),
        })
}

fn scaled_fraction(digits: &str, scale: i64) -> i64 {
    let mut value = 0;
    let mut unit = scale;
    for digit in digits.bytes() {
        unit /= 10;
        value += i64::from(digit - b'0') * unit;
    }
    value
}

/// Writes a time given in nanoseconds, as `1m30s`.
#[must_use]
pub fn format(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let amount = nanoseconds.unsigned_abs();
    let text = match amount {
        0 => "0s".to_owned(),
        1..1_000 => format!("{amount}ns"),
        1_000..1_000_000 => format!("{}\u{b5}s", decimal(amount, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(amount, 1_000_000)),
        _ => long(amount),
    };
    format!("{sign}{text}")
}

fn long(amount: u64) -> String {
    let seconds = amount / 1_000_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let below = format!("{}s", decimal(amount % 60_000_000_000, 1_000_000_000));
    match (hours, minutes) {
        (0, 0) => below,
        (0, minutes) => format!("{minutes}m{below}"),
        (hours, minutes) => format!("{hours}h{minutes}m{below}"),
    }
}

fn decimal(amount: u64, unit: u64) -> String {
    let width = unit.ilog10() as usize;
    let text = format!("{}.{:0width$}", amount / unit, amount % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, shown) in [
            ("30s", "30s"),
            ("1m30s", "1m30s"),
            ("1.5h", "1h30m0s"),
            ("90m", "1h30m0s"),
            ("1500ms", "1.5s"),
            ("1.5us", "1.5\u{b5}s"),
            ("-1s", "-1s"),
            ("0", "0s"),
            (".5s", "500ms"),
        ] {
            assert_eq!(format(parse(text).expect(text)), shown, "{text}");
        }
    }

    #[test]
    fn bad_times() {
        for (text, message) in [
            ("abc", "time: invalid duration \"abc\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("", "time: invalid duration \"\""),
            ("99999999999h", "time: invalid duration \"99999999999h\""),
        ] {
            assert_eq!(parse(text).expect_err(text).to_string(), message);
        }
    }
}
