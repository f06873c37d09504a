//! Numbers in header fields: octal text, or binary with the top bit set; and PAX times.

use crate::ContentError;

const NANOSECONDS: i128 = 1_000_000_000;

/// Reads a numeric header field.
///
/// # Errors
/// If it is neither octal nor binary, or too large for an `i64`.
pub(super) fn parse_field(field: &[u8]) -> Result<i64, ContentError> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => parse_binary(field),
        _ => parse_octal(field),
    }
}

/// Big-endian two's complement over the whole field; the top bit only marks the form.
fn parse_binary(field: &[u8]) -> Result<i64, ContentError> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, byte) in field.iter().enumerate() {
        let byte = match (index, negative) {
            (0, false) => byte & 0x7f,
            (0, true) => byte | 0x80,
            _ => *byte,
        };
        value = value << 8 | i128::from(byte);
        if i64::try_from(value).is_err() {
            return Err(ContentError::header("number out of range"));
        }
    }
    i64::try_from(value).map_err(|_| ContentError::header("number out of range"))
}

fn parse_octal(field: &[u8]) -> Result<i64, ContentError> {
    let is_padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_padding(byte));
    let Some(start) = start else { return Ok(0) };
    let digits = &field[start..];
    let end = digits.iter().position(is_padding).unwrap_or(digits.len());
    let text = std::str::from_utf8(&digits[..end]).unwrap_or("?");
    i64::from_str_radix(text, 8)
        .ok()
        .filter(|value| *value >= 0)
        .ok_or_else(|| ContentError::header(format!("{text:?} is not an octal number")))
}

/// Reads a PAX time: seconds since 1970 with an optional fraction.
///
/// # Errors
/// If it is not a decimal number.
pub(super) fn parse_time(text: &[u8]) -> Result<i128, ContentError> {
    let bad = || {
        let text = String::from_utf8_lossy(text);
        ContentError::header(format!("{text:?} is not a time"))
    };
    let text = std::str::from_utf8(text).map_err(|_| bad())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| bad())?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanoseconds: i128 = digits.parse().map_err(|_| bad())?;
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    Ok(i128::from(seconds) * NANOSECONDS + sign * nanoseconds)
}

/// Returns a time as PAX writes it, without trailing zeros.
pub(super) fn format_time(time_ns: i128) -> String {
    let sign = if time_ns < 0 { "-" } else { "" };
    let time = time_ns.unsigned_abs();
    let unit = NANOSECONDS.unsigned_abs();
    let (seconds, fraction) = (time / unit, time % unit);
    if fraction == 0 {
        return format!("{sign}{seconds}");
    }
    let digits = format!("{fraction:09}");
    format!("{sign}{seconds}.{}", digits.trim_end_matches('0'))
}

/// Returns whole seconds, rounded down.
pub(super) fn whole_seconds(time_ns: i128) -> i128 {
    time_ns.div_euclid(NANOSECONDS)
}

/// Says whether the time has a part below a second.
pub(super) fn has_fraction(time_ns: i128) -> bool {
    time_ns.rem_euclid(NANOSECONDS) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_octal_or_binary() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"12x\0", None),
            (b"-1\0\0", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(parse_field(field).ok(), value, "{field:?}");
        }
    }

    #[test]
    fn times_round_trip() {
        for (time, text) in [
            (0, "0"),
            (1_500_000_000, "1.5"),
            (-1_500_000_000, "-1.5"),
            (-500_000_000, "-0.5"),
            (1_000_000_001, "1.000000001"),
        ] {
            assert_eq!(format_time(time), text);
            assert_eq!(parse_time(text.as_bytes()).expect(text), time);
        }
        for text in ["", "x", "1.x", "1e9", "."] {
            assert!(parse_time(text.as_bytes()).is_err(), "{text}");
        }
    }
}
