//! The fields of a header block.

use std::collections::BTreeMap;

use lamina_types::DeviceNumber;

use super::BLOCK;
use super::Entry;
use super::EntryKind;
use super::number;
use crate::ContentError;

/// Reads the fields of a header block as they stand.
pub(super) fn entry(block: &[u8; BLOCK]) -> Result<Entry, ContentError> {
    let path = full_path(block);
    let mtime = number::parse_field(&block[136..148])?;
    Ok(Entry {
        kind: kind_of(block[156], &path)?,
        path,
        mode: u32::try_from(number::parse_field(&block[100..108])? & 0o7777).unwrap_or(0),
        uid: id_of(number::parse_field(&block[108..116])?)?,
        gid: id_of(number::parse_field(&block[116..124])?)?,
        mtime_ns: i128::from(mtime) * 1_000_000_000,
        size: 0,
        link: until_nul(&block[157..257]).to_vec(),
        device: device_of(block)?,
        xattrs: BTreeMap::new(),
    })
}

fn full_path(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let is_ustar = &block[257..263] == b"ustar\0";
    let is_star = is_ustar && &block[508..512] == b"tar\0";
    let prefix = match (is_star, is_ustar || is_mistaken_for_gnu(block)) {
        (true, _) => until_nul(&block[345..476]),
        (_, true) => until_nul(&block[345..500]),
        _ => b"",
    };
    if prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

/// Says whether a header of GNU's format has a prefix where that format has times: some writers
/// take its magic words for those of ustar.
fn is_mistaken_for_gnu(block: &[u8; BLOCK]) -> bool {
    let is_no_time = |field: &[u8]| field[0] != 0 && number::parse_field(field).is_err();
    &block[257..265] == b"ustar  \0"
        && (is_no_time(&block[345..357]) || is_no_time(&block[357..369]))
        && until_nul(&block[345..500]).is_ascii()
}

fn kind_of(flag: u8, path: &[u8]) -> Result<EntryKind, ContentError> {
    match flag {
        0 if path.ends_with(b"/") => Ok(EntryKind::Directory),
        0 | b'0' | b'7' | b'S' => Ok(EntryKind::File),
        b'1' => Ok(EntryKind::HardLink),
        b'2' => Ok(EntryKind::Symlink),
        b'3' => Ok(EntryKind::CharDevice),
        b'4' => Ok(EntryKind::BlockDevice),
        b'5' => Ok(EntryKind::Directory),
        b'6' => Ok(EntryKind::Fifo),
        _ => Err(ContentError::entry(
            path,
            format!("unhandled tar header type {flag}"),
        )),
    }
}

pub(super) fn id_of<T: TryInto<u32>>(number: T) -> Result<u32, ContentError> {
    number
        .try_into()
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| ContentError::header("owner out of range"))
}

/// Only the formats with a magic word have device numbers; elsewhere there is other data.
fn device_of(block: &[u8; BLOCK]) -> Result<DeviceNumber, ContentError> {
    if !matches!(block[156], b'3' | b'4') || &block[257..262] != b"ustar" {
        return Ok(DeviceNumber::default());
    }
    let part = |range: std::ops::Range<usize>| {
        u32::try_from(number::parse_field(&block[range])?)
            .map_err(|_| ContentError::header("device number out of range"))
    };
    Ok(DeviceNumber {
        major: part(329..337)?,
        minor: part(337..345)?,
    })
}

pub(super) fn size_of(block: &[u8; BLOCK]) -> Result<u64, ContentError> {
    u64::try_from(number::parse_field(&block[124..136])?)
        .map_err(|_| ContentError::header("negative size"))
}

pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// Compares the header's sum, which some old writers made from signed bytes.
pub(super) fn check_sum(block: &[u8; BLOCK]) -> Result<(), ContentError> {
    let wanted = number::parse_field(&block[148..156])?;
    let bytes = || {
        let counted = |at: usize, byte: u8| if (148..156).contains(&at) { b' ' } else { byte };
        block
            .iter()
            .enumerate()
            .map(move |(at, byte)| counted(at, *byte))
    };
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    if wanted == unsigned || wanted == signed {
        return Ok(());
    }
    Err(ContentError::header("checksum does not match"))
}
