//! PAX records: `<length> <key>=<value>\n`, where the length counts itself.

use crate::ContentError;

/// A key and its value.
pub(super) type Record = (Vec<u8>, Vec<u8>);

/// Splits the data of an extension header into records.
///
/// # Errors
/// If a record's length does not lead to its end.
pub(super) fn parse(mut data: &[u8]) -> Result<Vec<Record>, ContentError> {
    let mut records = Vec::new();
    while !data.is_empty() {
        let (record, rest) = split_record(data).ok_or_else(malformed)?;
        let equals = record.iter().position(|byte| *byte == b'=');
        let equals = equals.filter(|at| *at > 0).ok_or_else(malformed)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let binary = key.starts_with(super::XATTR_PREFIX);
        if key.contains(&0) || (!binary && value.contains(&0)) {
            return Err(malformed());
        }
        records.push((key.to_vec(), value.to_vec()));
        data = rest;
    }
    Ok(records)
}

fn malformed() -> ContentError {
    ContentError::header("malformed PAX record")
}

/// Returns the first record without its length and newline, and what follows it.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
    if length <= space + 1 || length > data.len() {
        return None;
    }
    let (record, rest) = data.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n")?;
    Some((record, rest))
}

/// Appends one record.
pub(super) fn append(data: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = key.len() + value.len() + 3;
    let mut length = body + digits(body);
    if digits(length) != digits(body) {
        length = body + digits(length);
    }
    data.extend_from_slice(format!("{length} ").as_bytes());
    data.extend_from_slice(key);
    data.push(b'=');
    data.extend_from_slice(value);
    data.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_every_length_round_trip() {
        for length in (0..120).chain(980..1010).chain(9_980..10_010) {
            let value = vec![b'v'; length];
            let mut data = Vec::new();
            append(&mut data, b"path", &value);
            append(&mut data, b"SCHILY.xattr.user.a", b"\0\n=");
            let records = parse(&data).expect("is well formed");
            assert_eq!(records[0], (b"path".to_vec(), value), "{length}");
            assert_eq!(records[1].1, b"\0\n=");
        }
    }

    #[test]
    fn damaged_records_are_refused() {
        for data in [
            "x",
            "5 a=b",
            "7 a=b\n",
            "3 =\n",
            "0 a=b\n",
            "6 ab\n",
            "999999999999999999999 a=b\n",
            "8 a=\0b\n",
        ] {
            assert!(parse(data.as_bytes()).is_err(), "{data:?}");
        }
    }
}
