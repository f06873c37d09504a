//! Sizes: a number of bytes, a number with a unit, or a part of the disk (row CFG-07).

use toml::Value;

/// How much space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Bytes(u64),
    /// Of the disk's size.
    Percent(u64),
}

impl Default for Size {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

/// Taken for a part of a disk whose size is not known.
const UNKNOWN_DISK: u64 = 2_000_000_000;

impl Size {
    /// Says whether nothing was asked for.
    pub(crate) fn is_unset(self) -> bool {
        self == Self::default() || self == Self::Percent(0)
    }

    /// Returns bytes on a disk of `total` bytes. Parts are whole gigabytes, rounded up.
    pub(crate) fn bytes(self, total: u64) -> u64 {
        match (self, total) {
            (Self::Bytes(bytes), _) => bytes,
            (Self::Percent(0), _) => 0,
            (Self::Percent(_), 0) => UNKNOWN_DISK,
            (Self::Percent(percent), total) => {
                let part = u128::from(total) * u128::from(percent) / 100;
                let gigabytes = u64::try_from(part >> 30).unwrap_or(u64::MAX);
                gigabytes.saturating_add(1).saturating_mul(1_000_000_000)
            }
        }
    }
}

/// Reads `1000`, `"1000"`, `"1.5GB"`, `"20%"`; units are powers of 1024.
pub(super) fn read(value: Value) -> Result<Size, String> {
    match value {
        Value::Integer(bytes) => {
            let bytes = u64::try_from(bytes).map_err(|_| format!("invalid disk space {bytes}"))?;
            Ok(Size::Bytes(bytes))
        }
        Value::String(text) => parse(&text).ok_or_else(|| format!("invalid disk space {text}")),
        other => Err(format!("invalid disk space: found a {}", other.type_str())),
    }
}

fn parse(text: &str) -> Option<Size> {
    if text.is_empty() {
        return Some(Size::default());
    }
    if let Some(percent) = text.strip_suffix('%') {
        return percent.parse().ok().map(Size::Percent);
    }
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let letter = match unit.as_str() {
        "" | "b" => "",
        "k" | "m" | "g" | "t" | "p" => &unit,
        _ => unit
            .strip_suffix("ib")
            .or_else(|| unit.strip_suffix('b'))
            .filter(|l| !l.is_empty())?,
    };
    let power = ["", "k", "m", "g", "t", "p"]
        .iter()
        .position(|known| *known == letter)?;
    let factor = 1_u64 << (10 * power);
    match number.parse::<u64>() {
        Ok(number) => number.checked_mul(factor).map(Size::Bytes),
        Err(_) => {
            let bytes = number.parse::<f64>().ok()? * factor as f64;
            // Below 2^63, so that nothing is lost by the conversion.
            (bytes < 9.2e18).then_some(Size::Bytes(bytes as u64))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        const G: u64 = 1 << 30;
        for (text, size) in [
            ("0", Size::Bytes(0)),
            ("", Size::Bytes(0)),
            ("123", Size::Bytes(123)),
            ("40MB", Size::Bytes(40 << 20)),
            ("10GB", Size::Bytes(10 * G)),
            ("10 g", Size::Bytes(10 * G)),
            ("10GiB", Size::Bytes(10 * G)),
            ("1.5kb", Size::Bytes(1536)),
            ("20%", Size::Percent(20)),
        ] {
            assert_eq!(read(Value::String(text.to_owned())), Ok(size), "{text}");
        }
        for text in [
            "x",
            "-1",
            "1x",
            "1.2.3",
            "GB",
            "1iB",
            "%",
            "99999999999999999999p",
            "é",
        ] {
            assert!(read(Value::String(text.to_owned())).is_err(), "{text}");
        }
        assert_eq!(read(Value::Integer(20)), Ok(Size::Bytes(20)));
        assert!(read(Value::Integer(-1)).is_err());
        assert!(read(Value::Boolean(true)).is_err());
    }

    #[test]
    fn parts_of_a_disk_are_whole_gigabytes() {
        assert_eq!(Size::Percent(10).bytes(100 << 30), 11_000_000_000);
        assert_eq!(Size::Percent(10).bytes(0), UNKNOWN_DISK);
        assert_eq!(Size::Percent(0).bytes(100 << 30), 0);
        assert_eq!(Size::Bytes(7).bytes(100), 7);
        assert_eq!(Size::Percent(u64::MAX).bytes(u64::MAX), u64::MAX);
    }
}
